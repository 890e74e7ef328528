"""What makes a node with running programs a cluster to use: images, and DNS. Runs inside of the node.

python -m e2e.cluster.bootstrap
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

from e2e.cluster import control
from e2e.cluster.addresses import LOGS, NODE_NAME
from e2e.cluster.images import NODE_ARCHIVE
from e2e.cluster.node import IMAGES
from tools.progress import FailedStep, complain, run, step

IMPORT = ("ctr", "--namespace", "k8s.io", "images", "import")  # makes an archive's images known to kubelet

_PATIENCE = 120.0  # seconds; a node takes four, on a machine that has nothing else to do
_DNS = Path(__file__).parent / "manifests/coredns.yaml"


def main() -> int:
    try:
        with step("node ready"):
            _wait_for("the API server", _answers)
            _wait_for("the node", _is_ready)
        with step("images imported"):
            _import(NODE_ARCHIVE)
            run(["kubectl", "apply", "--filename", _DNS], "setting DNS up")  # which starts meanwhile
            for archive in sorted(path.name for path in IMAGES.glob("*.tar") if path.name != NODE_ARCHIVE):
                _import(archive)
        with step("DNS ready"):
            _wait_for(
                "the cluster's DNS", lambda: _kubectl("rollout", "status", "deployment/coredns", "-n", "kube-system")
            )
            _wait_for("service accounts", lambda: _kubectl("get", "serviceaccount", "default"))
    except FailedStep as error:
        return complain(error)
    return 0


def _import(archive: str) -> None:
    run([*IMPORT, IMAGES / archive], f"importing {archive}")


def _answers() -> bool:
    return _kubectl("get", "--raw", "/readyz")


def _is_ready() -> bool:
    return _kubectl("wait", "--for=condition=Ready", f"node/{NODE_NAME}", "--timeout=2s")


def _kubectl(*words: str) -> bool:
    done = subprocess.run(["kubectl", *words], capture_output=True, check=False)
    return not done.returncode


def _wait_for(what: str, condition: Callable[[], bool]) -> None:
    until = monotonic() + _PATIENCE
    while not condition():
        if monotonic() > until:
            raise FailedStep(f"{what} is not ready after {_PATIENCE:.0f} s\n{_why()}")
        sleep(0.1)


def _why() -> str:
    """Programs that end again and again, with their last words."""
    failing = [name for name, state in control.states().items() if not state.pid or state.deaths]
    return "\n".join(f"{name}:\n{_last_lines(LOGS / f'{name}.log')}" for name in failing) or f"Logs are in {LOGS}"


def _last_lines(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-8:] if log.exists() else []
    return "\n".join(f"    {line}" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
