"""Processes that never outlive the mesh, whatever ends it. Real processes."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from controlplane.local.children import Children, KeeperDied, StartError
from controlplane.local.node import Node
from controlplane.local.processes import Machine, ProcessEnded, ProxyProcess
from controlplane.local.statedir import StateDirectory
from controlplane.runtime.clock import SystemClock

PYTHON = sys.executable
ENV = {"PATH": os.environ["PATH"]}
REPOSITORY = Path(__file__).parents[2]

# A command that starts another in a session of its own (a daemon), and says both process ids.
DAEMONIZING = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Vouching:
    """Nobody who could be asked for a certificate."""

    endpoint = "127.0.0.1:1"
    server_name = "nobody"
    bundle = Path("/nowhere/trusted.pem")

    def token(self, namespace: str, account: str) -> str:
        return f"{namespace}/{account}"


async def start(children: Children, tmp_path: Path, *argv: str, name: str = "x"):
    return await children.start(name, argv, env=ENV, directory=tmp_path, log=tmp_path / "log")


async def test_a_process_runs_where_and_as_told_and_its_end_is_known(tmp_path: Path) -> None:
    async with Children() as children:
        child = await start(children, tmp_path, PYTHON, "-c", "import os; print(os.getcwd()); raise SystemExit(3)")
        assert await asyncio.wait_for(child.wait(), 10) == 3
    assert (tmp_path / "log").read_text() == f"{tmp_path}\n"


async def test_what_cannot_be_started_says_why(tmp_path: Path) -> None:
    async with Children() as children:
        with pytest.raises(StartError, match="nowhere"):
            await asyncio.wait_for(start(children, tmp_path, "/nowhere"), 10)


async def test_a_process_that_does_not_end_when_asked_is_made_to(tmp_path: Path) -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    async with Children() as children:
        child = await start(children, tmp_path, PYTHON, "-c", stubborn)
        assert await asyncio.to_thread(wait_until, lambda: (tmp_path / "log").read_text() == "up\n")
        await child.end(grace=0.2)
        assert await child.wait() == -signal.SIGKILL


async def test_leaving_ends_everything_even_daemons(tmp_path: Path) -> None:
    async with Children() as children:
        await start(children, tmp_path, PYTHON, "-c", DAEMONIZING)
        assert await asyncio.to_thread(wait_until, lambda: "\n" in (tmp_path / "log").read_text())
        pids = [int(word) for word in (tmp_path / "log").read_text().split()]
        assert len(pids) == 2
        assert all(is_alive(pid) for pid in pids)
    assert not [pid for pid in pids if is_alive(pid)]


async def test_a_dead_keeper_is_noticed(tmp_path: Path) -> None:
    async with Children() as children:
        child = await start(children, tmp_path, PYTHON, "-c", "import time; time.sleep(600)")
        assert children._process
        os.kill(children._process.pid, signal.SIGKILL)
        with pytest.raises(KeeperDied):
            await asyncio.wait_for(children.died(), 10)
        with pytest.raises(KeeperDied):
            await child.wait()
        assert await asyncio.to_thread(wait_until, lambda: not is_alive(child.pid))


OWNER = """
import asyncio, sys
from pathlib import Path
from controlplane.local.children import Children

async def main():
    async with Children() as children:
        log = Path(sys.argv[1])
        await children.start("x", [sys.executable, "-c", sys.argv[2]], env={}, directory="/", log=log)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_whatever_ends_the_owner_ends_all_processes(tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "log"
    owner = subprocess.Popen([PYTHON, "-c", OWNER, str(log), DAEMONIZING], cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    assert wait_until(lambda: log.exists() and "\n" in log.read_text())
    pids = [int(word) for word in log.read_text().split()]
    owner.send_signal(number)
    owner.wait(10)
    assert wait_until(lambda: not any(is_alive(pid) for pid in pids))


async def test_a_child_hears_the_signals_its_keeper_does_not(tmp_path: Path) -> None:
    async with Children() as children:
        child = await start(children, tmp_path, PYTHON, "-c", "import time; time.sleep(600)")
        await child.end(grace=5)
        assert await child.wait() == -signal.SIGTERM


@pytest.mark.parametrize(
    ("envoy", "full", "words"),
    [
        ("/nowhere/envoy", False, "/nowhere/envoy cannot be started: there is no such program"),
        (PYTHON, True, "Not a directory"),
    ],
)
async def test_an_envoy_that_cannot_be_started_says_why(envoy: str, full, words: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (tmp_path / "logs").mkdir()
    if full:
        run.write_text("no directory: nothing can be written below it, as on a full disk")
    else:
        run.mkdir()
    async with Children() as children:
        machine = Machine(children, SystemClock(), StateDirectory(tmp_path, run), Path(envoy), Vouching(), ENV)
        node = Node("sidecar", "demo", "bill-1", "default", "127.0.0.2", "127.0.0.2", "bill", {})
        process = ProxyProcess("demo.bill", node, machine, lambda: None)
        with pytest.raises((ProcessEnded, OSError)):
            await asyncio.wait_for(process.run(), 10)
    assert words in process.last_words
