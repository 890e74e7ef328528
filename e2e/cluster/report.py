"""What runs on the node, and what it uses. Runs inside of it.

python -m e2e.cluster.report
"""

from pathlib import Path

import msgspec

from e2e.cluster import control
from tools.progress import say

_PAGE = 4096  # bytes
_GROUPS = Path("/sys/fs/cgroup")


class Used(msgspec.Struct, frozen=True):
    memory: int  # MB
    cpu: float  # seconds


def main() -> None:
    for name, state in control.states().items():
        if state.pid:
            again = f", died {state.deaths} times" if state.deaths else ""
            say(f"  {name:24} {resident(state.pid):>5} MB{again}")
        else:
            say(f"  {name:24} is not running; ended with {state.last_exit}")
    say("  all of the node, Pods included: {} MB, and {} MB of files in memory".format(*of_all()))


def resident(pid: int) -> int:
    """MB of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE >> 20


def of_all() -> tuple[int, int]:
    """MB that the node's processes hold, and MB of the kernel's page cache on their account."""
    values = _memory(_GROUPS / "memory")
    return values["total_rss"] >> 20, values["total_cache"] >> 20


def of_pod(uid: str) -> Used:
    """Of all its containers since it started. Raises `LookupError` where none of it runs."""
    memory, cpu = (_group(controller, uid) for controller in ("memory", "cpuacct"))
    return Used(_memory(memory)["total_rss"] >> 20, int((cpu / "cpuacct.usage").read_text()) / 1e9)


def processes_of_pod(uid: str) -> dict[int, str]:
    """The command of each process in its containers. Raises `LookupError` where none of it runs."""
    found = {}
    for listed in _group("memory", uid).glob("*/cgroup.procs"):
        for pid in map(int, listed.read_text().split()):
            found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return found


def _group(controller: str, uid: str) -> Path:
    """kubelet sorts Pods by the guarantees they ask for."""
    for found in (_GROUPS / controller / "kubepods").glob(f"**/pod{uid}"):
        return found
    raise LookupError(f"no Pod {uid} runs on the node")


def _memory(group: Path) -> dict[str, int]:
    lines = (line.split() for line in (group / "memory.stat").read_text().splitlines())
    return {name: int(value) for name, value in lines}


if __name__ == "__main__":
    main()
