"""The objects of a mesh, wherever it is: in files, in a directory where it runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from controlplane.cli.asking import Whom, ask
from controlplane.cli.compile import USUAL, read_manifests
from controlplane.cli.settings import read_mesh_config
from controlplane.model.decode import decode
from controlplane.model.kinds import Object
from controlplane.model.meshconfig import decode_settings
from controlplane.model.meta import ref_of
from controlplane.model.problem import ObjectRef, Problem
from controlplane.model.settings import Settings


class Place(msgspec.Struct, frozen=True):
    """The options that say which mesh is meant: files, or one that runs."""

    paths: Sequence[str]
    recursive: bool
    mesh_config: Path | None
    whom: Whom


class Mesh(msgspec.Struct, frozen=True):
    """What is there, and what is wrong with it alone."""

    objects: Mapping[ObjectRef, Object]
    settings: Settings
    problems: tuple[Problem, ...]


def read_mesh(place: Place) -> Mesh:
    """Refuses with one line."""
    return from_files(place) if place.paths else running(place.whom)


def from_files(place: Place) -> Mesh:
    """The manifests alone. Refuses with one line."""
    settings, problems = decode_settings({**USUAL, **read_mesh_config(place.mesh_config)})
    batch = read_manifests(place.paths, recursive=place.recursive)
    objects = {ref: value for ref, value in batch.changes.items() if value is not None}
    return Mesh(objects, settings, (*problems, *batch.problems))


def running(whom: Whom) -> Mesh:
    """A mesh that runs. Refuses with one line."""
    settings, problems = decode_settings(ask(whom, "/settings"))
    found = [decode(document) for document in ask(whom, "/objects")["items"]]
    values: list[Any] = [one.value for one in found if one.value is not None]
    objects = {ref_of(value): value for value in values}
    return Mesh(objects, settings, (*problems, *(each for one in found for each in one.problems)))
