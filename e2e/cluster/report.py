"""What runs on the node, and what it uses. Runs inside of it.

python -m e2e.cluster.report
"""

from pathlib import Path

from e2e.cluster import control
from tools.progress import say

_PAGE = 4096  # bytes
_MEMORY = Path("/sys/fs/cgroup/memory/memory.stat")


def main() -> None:
    for name, state in control.states().items():
        if state.pid:
            again = f", started {state.starts} times" if state.starts > 1 else ""
            say(f"  {name:24} {resident(state.pid):>5} MB{again}")
        else:
            say(f"  {name:24} is not running; ended with {state.last_exit}")
    say("  all of the node, Pods included: {} MB, and {} MB of files in memory".format(*of_all()))


def resident(pid: int) -> int:
    """MB of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE >> 20


def of_all() -> tuple[int, int]:
    """MB that the node's processes hold, and MB of the kernel's page cache on their account."""
    values = dict(line.split() for line in _MEMORY.read_text().splitlines())
    return int(values["total_rss"]) >> 20, int(values["total_cache"]) >> 20


if __name__ == "__main__":
    main()
