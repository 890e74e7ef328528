"""What the Envoys of a running mesh made of everything they were sent, by their own account.

Envoy counts, for each thing it subscribed to, updates it took and updates it refused: a refused update is a NACK.
"""

import json
from typing import NamedTuple

from controlplane.local.statedir import StateDirectory
from controlplane.runtime.unixhttp import request_blocking
from tests.local.meshes import Up


class Updates(NamedTuple):
    """Of all types, of one Envoy or several."""

    taken: int
    refused: int
    envoys: int


def updates(up: Up) -> Updates:
    """Since each of the Envoys started."""
    state = StateDirectory(up.directory, up.run_directory())
    found = []
    for status in up.ask("/proxies"):
        name, _, namespace = status["name"].rpartition(".")
        asked = "/stats?format=json&filter=update_(success|rejected)$"
        answered, body = request_blocking(state.admin_socket(f"{namespace}.{name}"), asked)
        assert answered == 200, body
        found.append(counted(body.decode()))
    return Updates(sum(one.taken for one in found), sum(one.refused for one in found), len(found))


def counted(stats: str) -> Updates:
    """From one Envoy's statistics."""
    counters = {each["name"]: each["value"] for each in json.loads(stats)["stats"] if "value" in each}
    taken, refused = (
        sum(value for name, value in counters.items() if name.endswith(ending))
        for ending in (".update_success", ".update_rejected")
    )
    return Updates(taken, refused, 1)
