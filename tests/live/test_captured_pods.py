"""Two injected Pods with real networks, real rules and real Envoys: what is called, and who the called one sees."""

import json
import os
import subprocess
import sys
from pathlib import Path
from shutil import which

import pytest

from tests.conftest import Proved

WORLD = Path(__file__).with_name("captured_world.py")
ROOT = Path(__file__).parents[2]
PROGRAMS = ("curl", "ip", "ip6tables", "iptables", "nsenter", "setpriv", "unshare")

PAST = "127.0.0.6"  # where Envoy hands inbound connections on from
CLIENT, CART = "spiffe://cluster.local/ns/shop/sa/client", "spiffe://cluster.local/ns/shop/sa/cart"
ALWAYS = {
    "the service": f"200 {PAST} {CLIENT}",
    "the service, raw": f"welcome, {PAST}",
    "itself, by its service": f"200 {PAST} {CART}",  # by way of its own proxy, as from anybody
    "itself, by its address": "200 10.1.1.2 nobody",
    "somebody outside": "welcome, 10.1.1.1",
    "the node probes": f"200 {PAST} nobody",  # the agent asks, past Envoy
    "the node calls a port that is left out": "welcome, 10.1.1.254",
}


def why_not() -> str:
    """What this machine lacks."""
    if missing := [program for program in PROGRAMS if which(program) is None]:
        return f"not installed: {', '.join(missing)}"
    if os.geteuid():
        return "only root may make a network"
    made = subprocess.run(
        ["unshare", "--net", "iptables-save", "-t", "nat"], capture_output=True, text=True, check=False
    )
    return f"a network cannot be made: {made.stderr.strip()}" if made.returncode else ""


@pytest.mark.point
def test_calls_of_captured_pods(tmp_path: Path, proved: Proved) -> None:
    if reason := why_not():
        pytest.skip(reason)
    tmp_path.chmod(0o755)
    own = ["unshare", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]  # whatever it starts ends with it
    done = subprocess.run(
        [*own, sys.executable, WORLD, tmp_path], capture_output=True, text=True, check=False, timeout=110, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    plain = {"the Pod itself": f"200 {PAST} nobody", "the node calls in plain text": f"200 {PAST} nobody"}
    strict = {"the Pod itself": "", "the node calls in plain text": ""}  # no answer of the application
    wrong = [
        (mode, what, said, found[mode][what])
        for mode, more in (("permissive", plain), ("strict", strict))
        for what, said in {**ALWAYS, **more}.items()
        if not (found[mode][what].startswith(said) if said else not found[mode][what].startswith("200"))
    ]
    print(*wrong, sep="\n")
    proved(
        "kubernetes 2", "calls between captured Pods that do not arrive, or as somebody else's",
        bound="0", figure=str(len(wrong)), holds=not wrong, cases=18, asked=18,
    )  # fmt: skip
