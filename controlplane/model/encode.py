"""From a value back to the document its author could have written."""

from datetime import timedelta
from typing import Any

import msgspec

from controlplane.model.durations import format_duration
from controlplane.model.kinds import BY_NAME, MeshObject
from controlplane.model.meta import ref_of
from controlplane.model.settings import Settings


def to_mapping(obj: MeshObject) -> dict[str, Any]:
    """As JSON or YAML would hold it. What `units` marked as invalid is a mark of ours and is left out."""
    ref = ref_of(obj)
    kind = BY_NAME[(ref.group, ref.kind)]
    body = _without_marks(msgspec.to_builtins(obj, enc_hook=_to_text))
    return {"apiVersion": f"{ref.group}/{kind.versions[0]}", "kind": ref.kind, "spec": {}, **body}


def settings_mapping(settings: Settings) -> dict[str, Any]:
    """With MeshConfig's names; what is as by default is left out."""
    found: dict[str, Any] = msgspec.to_builtins(settings, enc_hook=_to_text)
    return found


def _to_text(value: object) -> str:
    assert isinstance(value, timedelta)
    return format_duration(value)


def _without_marks(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_marks(item) for key, item in value.items() if not (key == "invalid" and item is True)}
    return [_without_marks(item) for item in value] if isinstance(value, list | tuple) else value
