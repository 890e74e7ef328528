"""`lateen debug`: one answer of a debug socket, or of an Envoy's admin socket, printed.

In a cluster it runs inside the Pod of whoever is asked, started by the API server (docs/adr/0017-looking-in.md): who
may do that is the API server's to decide, and no port is open for it. It only asks; nothing is changed through it.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from controlplane.local.statedir import running
from controlplane.runtime.unixhttp import request_blocking

_STATE: Final = Path("/var/lib/lateen")
_ADMIN: Final = ("admin.sock", "proxy/admin.sock")  # of a sidecar; of a gateway that `install` made
_USAGE: Final = "lateen debug [--envoy] PATH?QUERY"


def main(arguments: Sequence[str]) -> int:
    """Prints `{"status": …, "answer": …}`; 2: nobody is there to ask."""
    of_envoy = list(arguments[:1]) == ["--envoy"]
    targets = arguments[1:] if of_envoy else arguments
    if len(targets) != 1 or not targets[0].startswith("/"):
        return _refuse(_USAGE)
    socket = _admin_socket() if of_envoy else _debug_socket()
    if socket is None:
        return _refuse("nobody runs here")
    try:
        status, body = request_blocking(socket, targets[0])
    except OSError as error:
        return _refuse(f"{socket}: {error}")
    answer = body if body[:1] in {b"{", b"["} else json.dumps(body.decode(errors="replace")).encode()
    sys.stdout.buffer.write(b'{"status":%d,"answer":%s}\n' % (status, answer))
    sys.stdout.buffer.flush()
    return 0


def _debug_socket() -> Path | None:
    facts = running(Path())
    return None if facts is None else Path(facts["debug"])


def _admin_socket() -> Path | None:
    return next((path for name in _ADMIN if (path := _STATE / name).exists()), None)


def _refuse(why: str) -> int:
    sys.stderr.write(f"lateen: {why}\n")
    return 2
