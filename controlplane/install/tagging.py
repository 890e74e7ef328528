"""Revision tags: a name that namespaces can say instead of a revision, and that can be moved to another one.

A tag is a value of an installation (`injection.tags`): its control plane answers for it, and its webhook's selectors
name it. So setting one is an upgrade that changes nothing else.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from controlplane.install.api import Api, collection
from controlplane.install.names import COMPONENT, CONTROL_PLANE, OURS, REVISION, Place
from controlplane.install.objects import labels_of
from controlplane.install.upgrading import Installed, installed
from controlplane.model.validate.common import is_dns_label

_LONGEST: Final = 40  # characters


class Tag(NamedTuple):
    """Where a tag leads."""

    name: str
    revision: str


async def revisions(api: Api, namespace: str) -> dict[str, Installed]:
    """What is installed in a namespace, by revision. Raises RefusedError, UnreachableError, ValueError."""
    found = await api.list(collection("ConfigMap", namespace), f"{OURS},{COMPONENT}={CONTROL_PLANE}", whole=False)
    names = sorted(labels_of(one).get(REVISION, "") for one in found)
    every = {name: await installed(api, Place(namespace, name)) for name in names}
    return {name: one for name, one in every.items() if one is not None}


def tags_of(there: Mapping[str, Installed]) -> list[Tag]:
    """All there are."""
    return sorted(Tag(tag, revision) for revision, one in there.items() for tag in _tags(one.values))


def wrong(tag: str, there: Mapping[str, Installed]) -> str:
    """Why a name can be no tag here; "": it can."""
    if not is_dns_label(tag) or len(tag) > _LONGEST:
        return f"tag {tag!r}: use at most {_LONGEST} lower-case letters, digits and '-'"
    if tag in there:
        return f"{tag} is a revision itself"
    return ""


def with_tag(values: Mapping[str, Any], tag: str) -> dict[str, Any]:
    """Values that have it."""
    return _with_tags(values, sorted({*_tags(values), tag}))


def without_tag(values: Mapping[str, Any], tag: str) -> dict[str, Any]:
    """Values that have it not."""
    return _with_tags(values, [one for one in _tags(values) if one != tag])


def _tags(values: Mapping[str, Any]) -> Sequence[str]:
    return tuple((values.get("injection") or {}).get("tags") or ())


def _with_tags(values: Mapping[str, Any], tags: Sequence[str]) -> dict[str, Any]:
    rest = {key: value for key, value in (values.get("injection") or {}).items() if key != "tags"}
    return {**values, "injection": rest | ({"tags": list(tags)} if tags else {})}
