"""Traffic capture with the real iptables, in a network of its own: who takes which connection."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from shutil import which

import pytest

from tests.conftest import Proved

WORLD = Path(__file__).with_name("capture_world.py")
ROOT = Path(__file__).parents[2]


@cache
def why_not(backend: str) -> str:
    """What this machine lacks."""
    needed = [f"{program}-{backend}-{what}" for program in ("iptables", "ip6tables") for what in ("save", "restore")]
    if missing := [program for program in (*needed, "ip", "nsenter", "unshare") if which(program) is None]:
        return f"not installed: {', '.join(missing)}"
    if os.geteuid():
        return "only root may make a network"
    tried = subprocess.run(
        ["unshare", "--net", f"iptables-{backend}-save", "-t", "nat"], capture_output=True, text=True, check=False
    )
    return f"a network cannot be made: {tried.stderr.strip()}" if tried.returncode else ""


@cache
def world(backend: str, *flags: str):
    """One run of it."""
    own = ["unshare", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]  # whatever it starts ends with it
    command = [*own, sys.executable, str(WORLD), backend, "--exclude-inbound-ports", "15020,15021,15090", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(params=["nft", "legacy"])
def backend(request):
    if reason := why_not(request.param):
        pytest.skip(reason)
    return request.param


@pytest.fixture
def any_backend():
    """What the flags mean is the same in both."""
    reasons = {kind: why_not(kind) for kind in ("nft", "legacy")}
    usable = [kind for kind, reason in reasons.items() if not reason]
    if not usable:
        pytest.skip("; ".join(reasons.values()))
    return usable[0]


@pytest.mark.point
def test_who_takes_a_connection(backend, proved: Proved):
    found = world(backend, "--exclude-outbound-ports", "5432")["reached"]
    wrong = []
    for family, pod, other in (("IPv4", "10.1.1.1", "10.1.1.2"), ("IPv6", "2001:db8::1", "2001:db8::2")):
        expected = {
            "the application calls somebody": f"pod:15001 wanted {other}:80",
            "the application calls a database": "neighbour:5432 wanted",
            "the application calls its own address": "pod:8080 wanted",
            "the application calls localhost": "pod:8080 wanted",
            "the proxy calls somebody": "neighbour:80 wanted",
            "the proxy calls its own Pod": f"pod:15006 wanted {pod}:8080",
            "a helper of the proxy's group calls somebody": "neighbour:80 wanted",
            "the proxy hands on": "pod:8080 wanted",
            "a neighbour calls the application": f"pod:15006 wanted {pod}:8080",
            "a neighbour asks for the status": "pod:15021 wanted",
        }
        assert found[family].keys() == expected.keys()
        wrong += [
            (family, what, who, found[family][what])
            for what, who in expected.items()
            if not found[family][what].startswith(who)
        ]
    print(*wrong, sep="\n")
    proved(
        "kubernetes 2", f"connections of a captured Pod that the wrong one takes ({backend})",
        bound="0", figure=str(len(wrong)), holds=not wrong, cases=20, asked=20,
    )  # fmt: skip


def test_rules_are_set_once_seen_and_taken_away(backend):
    found = world(backend, "--exclude-outbound-ports", "5432")
    assert found["first"].count("traffic is captured") == 2
    assert found["second"].count("the rules are there already") == 2
    assert "traffic is captured" not in found["second"]
    assert found["left"] == []
    jumps = [line for rules in found["rules"] for line in rules if not line.startswith("-A ISTIO_")]
    assert jumps == ["-A PREROUTING -p tcp -j ISTIO_INBOUND", "-A OUTPUT -p tcp -j ISTIO_OUTPUT"] * 2


def test_only_what_is_named(any_backend):
    found = world(
        any_backend, "--include-ranges", "192.0.2.0/24,2001:db8:1::/48", "--include-inbound-ports", "9999",
        "--include-outbound-ports", "5432",
    )["reached"]  # fmt: skip
    for answers in found.values():
        assert answers["the application calls somebody"].startswith("neighbour:80")
        assert answers["the application calls a database"].startswith("pod:15001")
        assert answers["a neighbour calls the application"].startswith("pod:8080")


def test_nothing_at_an_interface_that_is_left_out(any_backend):
    found = world(any_backend, "--exclude-interfaces", "eth7,veth+")["reached"]
    for answers in found.values():
        assert answers["the application calls somebody"].startswith("neighbour:80")
        assert answers["a neighbour calls the application"].startswith("pod:8080")
        assert answers["the proxy calls its own Pod"].startswith("pod:15006")


def test_a_virtual_machine_calls(any_backend):
    """What comes in at its interface is what it dials, not what is dialled of the Pod."""
    found = world(any_backend, "--virtual-interfaces", "veth0")["reached"]
    for answers in found.values():
        assert answers["a neighbour calls the application"].startswith("pod:15001")


CONFINED = """
set -e
mount --make-rprivate /
mount --bind / /mnt
mount -o remount,ro,bind /mnt
mount -t tmpfs tmpfs /mnt/dev/shm
mount -t proc proc /mnt/proc
ip link set lo up
exec chroot /mnt setpriv --bounding-set=-all,+net_admin,+net_raw --inh-caps=-all,+net_admin,+net_raw --no-new-privs \
    sh -ec 'cd "$1"; if touch written 2>/dev/null; then exit 9; fi; shift; "$@"' - "$@"
"""


def test_as_confined_as_the_init_container(backend):
    """Root with two capabilities, on a read-only root file system, who can get no further ones."""
    if which("setpriv") is None:
        pytest.skip("not installed: setpriv")
    own = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]
    capture = [sys.executable, "-m", "controlplane.agent", "capture", "--backend", backend, "--ipv6", "true"]
    done = subprocess.run(
        [*own, "sh", "-c", CONFINED, "-", ROOT, *capture], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("traffic is captured") == 2
