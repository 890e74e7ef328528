"""The settings a command was given: of the mesh, of injection."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controlplane.cli.refusal import Refused
from controlplane.sources.files.parser import Place
from controlplane.sources.files.reading import Unreadable, read
from controlplane.sources.files.scanning import read_text


def read_mesh_config(path: Path | None) -> Mapping[str, Any]:
    """MeshConfig fields, from a file of them or from where Istio's users keep them. Refuses with one line.

    That is Istio's ConfigMap (`data.mesh`), or an IstioOperator (`spec.meshConfig`).
    """
    if path is None:
        return {}
    try:
        found = _only_mapping(read_text(str(path)), str(path))
        data = found.get("data")
        if found.get("kind") == "ConfigMap" and isinstance(data, Mapping):
            return _only_mapping(str(data.get("mesh", "")), f"{path} (data.mesh)")
        spec = found.get("spec")
        if found.get("kind") == "IstioOperator" and isinstance(spec, Mapping):
            return _below(spec, "meshConfig", f"{path} (spec.meshConfig)")
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise Refused(f"{path}: {error}") from error
    return found


def read_mapping(path: Path, key: str) -> Mapping[str, Any]:
    """A file of fields, or a ConfigMap that has such a text under this key. Refuses with one line."""
    try:
        found = _only_mapping(read_text(str(path)), str(path), "fields")
        data = found.get("data")
        if found.get("kind") == "ConfigMap" and isinstance(data, Mapping):
            return _only_mapping(str(data.get(key, "")), f"{path} (data.{key})", "fields")
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise Refused(f"{path}: {error}") from error
    return found


def _below(mapping: Mapping[str, Any], key: str, name: str) -> Mapping[str, Any]:
    value = mapping.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise Refused(f"{name}: one mapping of MeshConfig fields was expected")
    return value or {}


def _only_mapping(text: str, name: str, of: str = "MeshConfig fields") -> Mapping[str, Any]:
    try:
        readings = read(text)
    except Unreadable as wrong:
        raise Refused(f"{Place(name, wrong.line, wrong.column)}: {wrong.message}") from wrong
    if not readings:
        return {}
    if len(readings) > 1 or not isinstance(readings[0].value, Mapping):
        raise Refused(f"{name}: one mapping of {of} was expected")
    return readings[0].value
