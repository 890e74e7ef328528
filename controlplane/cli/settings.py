"""The mesh-wide settings a command was given."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controlplane.cli.refusal import Refused
from controlplane.sources.files.parser import Place
from controlplane.sources.files.reading import Unreadable, read
from controlplane.sources.files.scanning import read_text


def read_mesh_config(path: Path | None) -> Mapping[str, Any]:
    """MeshConfig fields, from a file of them or from Istio's ConfigMap (`data.mesh`). Refuses with one line."""
    if path is None:
        return {}
    try:
        found = _only_mapping(read_text(str(path)), str(path))
        data = found.get("data")
        if found.get("kind") == "ConfigMap" and isinstance(data, Mapping):
            return _only_mapping(str(data.get("mesh", "")), f"{path} (data.mesh)")
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise Refused(f"{path}: {error}") from error
    return found


def _only_mapping(text: str, name: str) -> Mapping[str, Any]:
    try:
        readings = read(text)
    except Unreadable as wrong:
        raise Refused(f"{Place(name, wrong.line, wrong.column)}: {wrong.message}") from wrong
    if not readings:
        return {}
    if len(readings) > 1 or not isinstance(readings[0].value, Mapping):
        raise Refused(f"{name}: one mapping of MeshConfig fields was expected")
    return readings[0].value
