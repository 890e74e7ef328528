"""Asking a running `lateen up` or `lateen serve` through its debug socket."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from controlplane.cli.refusal import Refused
from controlplane.local.statedir import running
from controlplane.runtime.unixhttp import request_blocking


def ask(directory: Path, target: str, **query: str) -> Any:
    """The answer, as JSON values. Refuses with one line when nobody runs there, or it does not know."""
    return _asked(directory, "GET", target, query)


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
