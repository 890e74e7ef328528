"""The objects of a mesh, wherever it is: in files, in a directory where it runs, in a cluster."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec
import typer

from controlplane.cli.asking import Whom, ask
from controlplane.cli.clusters import Target
from controlplane.cli.clusters import ask as ask_cluster
from controlplane.cli.compile import USUAL, read_manifests
from controlplane.cli.settings import read_mesh_config
from controlplane.install.api import Api, RefusedError
from controlplane.model import core
from controlplane.model.decode import decode
from controlplane.model.kinds import KINDS, Kind, Object
from controlplane.model.meshconfig import decode_settings
from controlplane.model.meta import ref_of
from controlplane.model.problem import ObjectRef, Problem
from controlplane.model.settings import Settings

# Nobody should have to read these to look at a mesh, and nothing of what is looked at is in them.
_NOT_READ: Final = (core.Secret, core.ConfigMap, core.ServiceAccount)


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
    documents = ask(whom, "/objects")["items"] if whom.directory is not None else _told(whom.cluster)
    found = [decode(document) for document in documents]
    values: list[Any] = [one.value for one in found if one.value is not None]
    objects = {ref_of(value): value for value in values}
    return Mesh(objects, settings, (*problems, *(each for one in found for each in one.problems)))


class Listed(NamedTuple):
    """What a cluster has, as far as whoever asks may read it."""

    documents: list[Any]
    forbidden: list[str]  # plural names of kinds


def _told(cluster: Target) -> list[Any]:
    """What is forbidden is told, and taken for absent."""
    found = objects_of_cluster(cluster)
    if found.forbidden:
        typer.echo(f"lateen: you may not read {', '.join(found.forbidden)}: they are left out", err=True)
    return found.documents


def objects_of_cluster(cluster: Target, *, whole: bool = True) -> Listed:
    """All that a mesh is made of, or only its metadata. Refuses with one line."""

    async def listed(api: Api) -> Listed:
        kinds = [kind for kind in KINDS if kind.type not in _NOT_READ]
        found = await asyncio.gather(*(_listed(api, kind, whole=whole) for kind in kinds))
        forbidden = [kind.plural for kind, documents in zip(kinds, found, strict=True) if documents is None]
        return Listed([document for documents in found for document in documents or ()], forbidden)

    return ask_cluster(cluster, listed)


async def _listed(api: Api, kind: Kind, *, whole: bool) -> list[Any] | None:
    """Items of a list do not say what they are. A kind that is not installed has none; None: it may not be read."""
    for version in kind.versions:
        try:
            items = await api.list(collection(kind, version), whole=whole)
        except RefusedError as error:
            if error.status != 403:
                raise
            return None
        if items:
            said = {"apiVersion": f"{kind.group}/{version}" if kind.group else version, "kind": kind.kind}
            return [{**item, **said} for item in items]
    return []


def collection(kind: Kind, version: str, namespace: str = "") -> str:
    """Where an API server has the objects of a kind."""
    base = f"/apis/{kind.group}/{version}" if kind.group else f"/api/{version}"
    return f"{base}/namespaces/{quote(namespace, safe='')}/{kind.plural}" if namespace else f"{base}/{kind.plural}"
