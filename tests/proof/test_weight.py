"""What stands beside an application on a laptop: an agent and an Envoy with the configuration of the bill-service mesh."""

import os
from pathlib import Path

import pytest

from tests.local.meshes import Up, lay_out, processes_below

pytestmark = pytest.mark.point

MIB = 1024 * 1024
MOST = 110  # MiB
URL = "http://bill-service:9999/"


def test_envoy_and_agent_beside_an_application(tmp_path, size, proved):
    with Up(lay_out(tmp_path, "bill-service")).settled() as up:
        up.synced()
        for _ in range(size(100, 2000)):
            assert up.call("front-tomcat", URL)[0] == 200
        rows = up.mesh()["replicas"]
        found = {row["workload"]: resident(up, f"{row['namespace']}.{row['name']}") for row in rows}
    most = max(sum(each.values()) for each in found.values()) / MIB
    parts = max(found.values(), key=lambda each: sum(each.values()))
    told = ", ".join(f"{name} {each / MIB:.1f}" for name, each in sorted(parts.items()))
    proved(
        "identity 8", "Envoy and agent beside an application of the bill-service mesh, resident",
        bound=f"<= {MOST} MiB", figure=f"{most:.1f} MiB ({told})",
        holds=most <= MOST, cases=len(found), asked=3,
    )  # fmt: skip


def resident(up: Up, proxy: str) -> dict[str, int]:
    """Bytes, of what runs in the folder of one proxy, by program."""
    pids = processes_below(up.proxy_directory(proxy))
    found = {Path(f"/proc/{pid}/exe").readlink().name.rstrip("0123456789."): memory(pid) for pid in pids}
    assert len(found) == 2, found
    return found


def memory(pid: int) -> int:
    """Bytes of memory that a process holds, what it shares with others included."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
