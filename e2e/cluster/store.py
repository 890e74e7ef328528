"""Kubernetes' store, as its operator: over etcd's JSON gateway. For those inside the node."""

import json
from typing import Any
from urllib.request import Request, urlopen

from e2e.cluster.programs import ETCD

_FIRST_KEY = "AA=="  # a zero byte, in base64


def compact() -> int:
    """Forgets all history: who asks for what was before the revision that is returned is refused from now on.

    API servers keep some history of their own, and forget it when they are started anew.
    """
    revision = int(_asked("kv/range", {"key": _FIRST_KEY, "limit": 1})["header"]["revision"])
    _asked("kv/compaction", {"revision": revision, "physical": True})
    return revision


def _asked(method: str, request: dict[str, Any]) -> dict[str, Any]:
    with urlopen(Request(f"{ETCD}/v3/{method}", json.dumps(request).encode()), timeout=10) as response:
        answer = json.load(response)
    assert isinstance(answer, dict)
    return answer
