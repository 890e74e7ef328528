"""What the agent costs: it stands beside every workload."""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.agent.agents import command, memory, running
from tests.agent.bootstraps import documents
from tests.agent.endpoint import Endpoint
from tests.envoys.upstreams import loopback_address
from tests.ports import free_port

HEAVY = {
    "aiohttp", "cryptography", "envoy", "envoy_data_plane", "google", "grpc", "kubernetes", "pydantic", "re2", "rich",
    "structlog", "typer", "xds", "yaml",
}  # fmt: skip
OWN = ("controlplane.agent", "controlplane.base", "controlplane.cli.entrance", "controlplane.runtime")
SCRIPT = Path(sys.executable).with_name("lateen")
MOST_MEMORY = 40 * 1024  # kB
MOST_MILLISECONDS = 300


@pytest.mark.parametrize("program", [("-m", "controlplane.agent"), (str(SCRIPT), "agent")], ids=["module", "script"])
def test_a_running_agent_has_loaded_nothing_heavy(tmp_path, idle_envoy, program):
    """Of the real process, whichever way it was started: what it imported until it ended."""
    tracing = (sys.executable, "-X", "importtime", *program)
    with (
        Endpoint(tmp_path) as endpoint,
        running(endpoint, tmp_path / "agent", envoy=idle_envoy, program=tracing) as agent,
    ):
        assert agent.envoy_pid
        endpoint.wait_for_reports(1)
        agent.get("/healthz/ready")
        agent.process.terminate()
        assert agent.ended() == 0
    found = {line.rpartition("|")[2].strip() for line in agent.lines if line.startswith("import time:")}
    assert "controlplane.agent.life" in found
    assert {name for name in found if name.partition(".")[0] in HEAVY} == set()
    ours = {name for name in found if name.startswith("controlplane.")}
    assert {name for name in ours if not name.startswith(OWN) and name != "controlplane.cli"} == set()


@pytest.mark.point
def test_an_agents_memory(tmp_path, proved):
    """Resident, beside a real Envoy, after its certificate was renewed several times and everybody asked."""
    address = loopback_address()
    with (
        Endpoint(tmp_path, files=documents(address, 8443), life=4.0) as endpoint,
        running(endpoint, tmp_path / "agent", address=address) as agent,
    ):
        agent.wait_until_ready()
        agent.said("certificate", 4)
        for _ in range(50):
            agent.get("/healthz/ready")
        found, beside = agent.memory(), memory(agent.envoy_pid)
    proved(
        "identity 8",
        "an agent's resident memory, beside an Envoy without configuration",
        bound=f"< {MOST_MEMORY // 1024} MiB",
        figure=f"{found / 1024:.1f} MiB (its Envoy: {beside / 1024:.1f} MiB)",
        holds=found < MOST_MEMORY,
        cases=1,
        asked=1,
    )


@pytest.mark.point
@pytest.mark.bench
def test_an_agents_start(tmp_path, size, proved):
    """From the agent's own start until Envoy's, certificate included; the endpoint answers at once."""
    program = tmp_path / "clock"
    program.write_text(
        f"#!{sys.executable} -IS\nimport time; print(time.monotonic_ns(), flush=True); time.sleep(600)\n"
    )
    program.chmod(0o700)
    with Endpoint(tmp_path) as endpoint:
        took = [_until_envoy(endpoint, tmp_path / f"agent-{number}", program) for number in range(size(5, 20))]
    proved(
        "identity 8",
        "from an agent's start to Envoy's",
        bound=f"< {MOST_MILLISECONDS} ms (median)",
        figure=f"{statistics.median(took):.0f} ms",
        holds=statistics.median(took) < MOST_MILLISECONDS,
        cases=len(took),
        asked=size(5, 20),
    )


def _until_envoy(endpoint: Endpoint, directory: Path, program: Path) -> float:
    """Milliseconds. The stand-in for Envoy is a Python, too: its own start is taken off."""
    address = loopback_address()
    argv = [
        str(SCRIPT),
        "agent",
        "sidecar",
        *command(endpoint, directory, address, (free_port(), free_port()), envoy=str(program)),
    ]
    began = time.monotonic_ns()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={"PATH": os.defpath}) as agent:
        assert agent.stdout is not None
        started = int(agent.stdout.readline())
        agent.kill()
    return (started - began - _own_start(program)) / 1e6


def _own_start(program: Path) -> int:
    began = time.monotonic_ns()
    with subprocess.Popen([str(program)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        started = int(process.stdout.readline())
        process.kill()
    return started - began
