"""`lateen wait`: until what was written is what proxies do."""

import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import typer

from controlplane.cli.asking import Whom, ask
from controlplane.cli.clusters import ask as ask_cluster
from controlplane.cli.objects import collection
from controlplane.cli.output import Format, print_document, print_table
from controlplane.cli.refusal import Refused
from controlplane.install.api import Api
from controlplane.model.durations import parse_duration
from controlplane.model.kinds import KINDS, Kind

_LOOK_EVERY: Final = 0.2  # seconds
_OF_NO_USE: Final = frozenset({"Deployment", "ConfigMap", "ServiceAccount"})  # to proxies
Answer = Mapping[str, Any]


class Until(StrEnum):
    """What is waited for."""

    DELIVERED = "delivered"  # it is in force, and on all proxies concerned
    DELETE = "delete"  # it is gone, and no proxy has anything of it


class Waited(NamedTuple):
    """The options that say for what, and how long."""

    what: str | None  # "virtualservice/bill"; None: for everything there is
    namespace: str
    until: str
    timeout: str


def wait(
    whom: Whom, waited: Waited, output: Format, now: Callable[[], float] = time.monotonic, sleep: Any = time.sleep
) -> None:
    """Returns when it is so; 1 is the exit code if it is not in time, or a proxy says no."""
    query = {} if waited.what is None else _query(waited.what, waited.namespace)
    until, ends = Until(waited.until), now() + _seconds(waited.timeout)
    if until is Until.DELETE and not query:
        raise Refused("--for delete needs KIND/NAME")
    has_answered = False
    while True:
        try:
            answer = ask(whom, "/reached", **query, **_version(whom, query))
        except Refused:
            if not has_answered or now() >= ends:
                raise
            sleep(_LOOK_EVERY)
            continue  # a control plane may be started anew meanwhile
        has_answered = True
        refused = [one for one in answer["proxies"] if one["state"] == "REFUSED"]
        if _is_there(answer, until) or refused:
            break
        if now() >= ends:
            raise Refused(f"not within {waited.timeout}: {_missing(answer, until)}", code=1)
        sleep(_LOOK_EVERY)
    _print(answer, output)
    if refused:
        raise typer.Exit(1)


def _version(whom: Whom, query: Mapping[str, str]) -> dict[str, str]:
    """What the API server has now: each replica has to have read that. Files have no versions."""
    if not query or whom.directory is not None:
        return {}
    kind = _kind(f"{query['kind'].lower()}.{query['group']}" if query["group"] else query["kind"].lower())

    async def read(api: Api) -> str:
        for version in kind.versions:  # not all of them need be served
            found = await api.document(
                f"{collection(kind, version, query['namespace'])}/{quote(query['name'], safe='')}"
            )
            if found is not None:
                return str(found["metadata"]["resourceVersion"])
        return ""

    return {"version": ask_cluster(whom.cluster, read)}


def _is_there(answer: Answer, until: Until) -> bool:
    settled = answer["current"] and all(one["state"] == "SYNCED" for one in answer["proxies"])
    if until is Until.DELETE:
        return bool(settled and answer.get("is_gone", not answer["is_read"]) and not answer["proxies"])
    return bool(settled and answer["is_read"])


def _missing(answer: Answer, until: Until) -> str:
    """In words, what keeps it."""
    if not answer["current"]:
        return "the control plane has not read it"
    if answer["is_read"] is (until is Until.DELETE):
        return "it is still there" if answer["is_read"] else "the control plane knows of no such object"
    late = [one for one in answer["proxies"] if one["state"] != "SYNCED" or until is Until.DELETE]
    words = ", ".join(f"{one['name']} ({one['message'] or one['state']})" for one in late)
    return f"{len(late)} of {len(answer['proxies'])} proxies are late: {words}"


def _print(answer: Answer, output: Format) -> None:
    if output is not Format.TABLE:
        print_document(answer, output)
    elif answer["proxies"]:
        rows = [(one["name"], one["state"], one["message"] or "-") for one in answer["proxies"]]
        print_table(("proxy", "state", "message"), rows)
    else:
        typer.echo("no proxy is concerned", err=True)


def _query(what: str, namespace: str) -> dict[str, str]:
    kind, slash, name = what.partition("/")
    if not slash or not name:
        raise Refused(f"{what!r}: KIND/NAME was expected")
    found = _kind(kind.lower())
    return {
        "group": found.group,
        "kind": found.kind,
        "namespace": namespace if found.namespaced else "",
        "name": name,
    }


def _kind(text: str) -> Kind:
    """As kubectl takes it: singular, plural, short, with its group behind a dot."""
    plain, _, group = text.partition(".")
    for kind in KINDS:
        if (
            kind.kind not in _OF_NO_USE
            and plain in {kind.kind.lower(), kind.plural, *kind.short_names}
            and group in {"", kind.group}
        ):
            return kind
    raise Refused(f"{text}: nothing that a proxy is sent is made of such a kind")


def _seconds(text: str) -> float:
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise Refused(f"--timeout {text}: {error}") from error
