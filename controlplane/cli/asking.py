"""Asking a running mesh: one of a directory through its debug socket, one of a cluster through its API server."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from controlplane.cli.refusal import Refused
from controlplane.local.statedir import running
from controlplane.runtime.unixhttp import request_blocking


class Whom(msgspec.Struct, frozen=True):
    """Which mesh is asked."""

    directory: Path | None = None


def ask(whom: Whom, target: str, **query: str) -> Any:
    """The answer, as JSON values. Refuses with one line when nobody runs there, or it does not know."""
    return _asked(whom.directory or Path(), "GET", target, query)


def tell(directory: Path, target: str, **query: str) -> Any:
    """Have something done; the answer. Refuses with one line as `ask`, or when it may not be done."""
    return _asked(directory, "POST", target, query)


def _asked(directory: Path, method: str, target: str, query: Mapping[str, str]) -> Any:
    facts = running(directory)
    if facts is None:
        raise Refused(f"no mesh runs in {directory.resolve()} or above; start one: lateen up DIR")
    pairs = "&".join(f"{key}={quote(value)}" for key, value in query.items())
    try:
        status, body = request_blocking(Path(facts["debug"]), f"{target}?{pairs}", method)
        answer = json.loads(body)
    except (OSError, ValueError) as error:
        raise Refused(f"the mesh of process {facts['pid']} does not answer: {error}") from error
    if status != 200:
        raise Refused(answer.get("error", f"status {status}"), code=1)
    return answer


def is_somebody_there(whom: Whom) -> bool:
    """Whether there is a mesh to ask, where nobody was named."""
    return whom.directory is not None or running(Path()) is not None
