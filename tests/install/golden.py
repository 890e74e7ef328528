"""Golden cases of this room: what an installation is told, and the objects it is made of.

CRDs are there by name alone: `crds/` has them.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import yaml

from controlplane.install.manifests import Facts, manifests
from controlplane.install.names import NAMESPACE, Place
from controlplane.install.objects import to_yaml
from controlplane.install.reading import read_values
from tests.golden.files import INPUT


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    profile: str
    revision: str = "default"
    namespace: str = NAMESPACE
    istiod: bool = False
    values: Mapping[str, Any] = {}
    sets: tuple[str, ...] = ()


@cache
def objects_of(case: Path) -> list[dict[str, Any]]:
    told = msgspec.convert(yaml.safe_load((case / INPUT).read_text()), Case)
    read = read_values(told.profile, [told.values], told.sets)
    return manifests(read.values, Place(told.namespace, told.revision), Facts(istiod=told.istiod))


def outputs(case: Path) -> dict[str, str]:
    shown = [_short(obj) for obj in objects_of(case)]
    return {"manifests.yaml": to_yaml(shown)}


def _short(obj: dict[str, Any]) -> dict[str, Any]:
    if obj["kind"] != "CustomResourceDefinition":
        return obj
    return {key: value for key, value in obj.items() if key != "spec"}
