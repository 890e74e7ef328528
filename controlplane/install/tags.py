"""Revision tags: a name that namespaces can say instead of a revision, and that can be moved to another one.

A tag is one more entry in its revision's own webhook, for the label `istio.io/rev=<tag>`: the control plane may change
that object by its name and keeps the caBundle of all entries right, so a tag needs no right of its own. Entries come
and go by JSON Patches with tests: others own parts of them, and server-side apply would leave these parts behind.
"""

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from controlplane.install.names import DEFAULT_REVISION, ISTIO_REVISION, REVISION
from controlplane.install.objects import Object, labels_of
from controlplane.model.validate.common import is_dns_label

_SUFFIX: Final = ".tag.lateen.dev"
_LONGEST: Final = 40
_SELECTORS: Final = ("namespaceSelector", "objectSelector")


class Tag(NamedTuple):
    """Where a tag leads."""

    name: str
    revision: str
    injector: str  # the webhook that has it


def wrong(tag: str) -> str:
    """Why a name can be no tag; "": it can."""
    if not is_dns_label(tag) or len(tag) > _LONGEST:
        return f"tag {tag!r}: use at most {_LONGEST} lower-case letters, digits and '-'"
    return f"{tag} is the name of a revision" if tag == DEFAULT_REVISION else ""


def tags_of(injectors: Iterable[Object]) -> list[Tag]:
    """All that there are in webhooks of ours, by name."""
    found = {
        Tag(name, labels_of(injector).get(REVISION, ""), injector["metadata"]["name"])
        for injector in injectors
        for webhook in injector.get("webhooks") or []
        if (name := _tag_of(webhook["name"]))
    }
    return sorted(found)


def setting(injector: Object, tag: str) -> list[Object]:
    """A JSON Patch after which the tag is one of this webhook's; none if it has nothing for its own revision."""
    revision = labels_of(injector).get(REVISION, "")
    own = [webhook for webhook in injector.get("webhooks") or [] if not _tag_of(webhook["name"])]
    entries = [_for_tag(webhook, revision, tag) for webhook in own if _selects(webhook, revision)]
    named = [{**entry, "name": f"e{i}.{tag}{_SUFFIX}"} for i, entry in enumerate(entries)]
    added = [{"op": "add", "path": "/webhooks/-", "value": entry} for entry in named]
    return [*removing(injector, tag), *added] if added else []


def removing(injector: Object, tag: str) -> list[Object]:
    """A JSON Patch after which it is not; the last entries first, so that numbers stay right."""
    patch: list[Object] = []
    for index, webhook in reversed(list(enumerate(injector.get("webhooks") or []))):
        if _tag_of(webhook["name"]) == tag:
            patch.append({"op": "test", "path": f"/webhooks/{index}/name", "value": webhook["name"]})
            patch.append({"op": "remove", "path": f"/webhooks/{index}"})
    return patch


def _tag_of(webhook: str) -> str:
    return webhook.removesuffix(_SUFFIX).partition(".")[2] if webhook.endswith(_SUFFIX) else ""


def _selects(webhook: Mapping[str, Any], revision: str) -> bool:
    return any(_names(one, revision) for one in _expressions(webhook)) or any(
        (webhook.get(where) or {}).get("matchLabels", {}).get(ISTIO_REVISION) == revision for where in _SELECTORS
    )


def _for_tag(webhook: Mapping[str, Any], revision: str, tag: str) -> Object:
    entry: Object = copy.deepcopy(dict(webhook))
    for expression in _expressions(entry):
        if _names(expression, revision):
            expression["values"] = [tag]
    for where in _SELECTORS:
        labels = (entry.get(where) or {}).get("matchLabels", {})
        if labels.get(ISTIO_REVISION) == revision:
            labels[ISTIO_REVISION] = tag
    return entry


def _expressions(webhook: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [one for where in _SELECTORS for one in (webhook.get(where) or {}).get("matchExpressions") or []]


def _names(expression: Mapping[str, Any], revision: str) -> bool:
    """Whether it asks for Pods of this revision."""
    asks = expression.get("key") == ISTIO_REVISION and expression.get("operator") == "In"
    return asks and revision in (expression.get("values") or [])
