"""The node from the command line; `make cluster-up` and its sisters call this.

python -m e2e.cluster up | down | shell | status | test | load | build | images
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import pytest

from e2e.cluster import building, images, requirements
from e2e.cluster.bootstrap import IMPORT
from e2e.cluster.node import CHECKOUT, IMAGES, Node, name_of
from tools.cache import default_cache, forget_unused, locked
from tools.images import base
from tools.progress import FailedStep, complain, run, say, seconds, step

_PYTEST = (sys.executable, "-m", "pytest", "-p", "tests.conftest")
_ON_MACHINE = "e2e/machine"  # starts a node of its own, and looks at what it leaves
_NO_TESTS = int(pytest.ExitCode.NO_TESTS_COLLECTED)


def main() -> int:
    chosen = _parser().parse_args()
    node = Node(chosen.cache, chosen.name)
    try:
        return int(chosen.run(node, chosen))
    except FailedStep as error:
        return complain(error)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m e2e.cluster",
        description="A real Kubernetes of one node, in namespaces of its own: docs/e2e.md.",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=default_cache(),
        help="where programs, images and the node's data are: %(default)s",
    )
    parser.add_argument("--name", default=name_of(CHECKOUT), help="of the node; each checkout has its own: %(default)s")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, what in {
        "up": (up, "build what is missing, and start the node; it stays until `down`"),
        "down": (down, "end the node, with all that is its own"),
        "shell": (shell, "a shell inside of the node (or COMMAND there), with kubectl set up"),
        "status": (status, "is it up, what runs, what it uses"),
        "images": (list_images, "print where the archives with the images are that tests name, for a cluster of yours"),
        "load": (load, "build Lateen's image anew and give it to the node, for Pods that start from now on"),
        "build": (build, "build what is missing, and no more"),
        "test": (test, "run the tests in e2e/ on the node, or on the cluster that KUBECONFIG names"),
    }.items():
        command = commands.add_parser(name, help=what[1], description=what[1])
        command.set_defaults(run=what[0])
        if name == "up":
            command.add_argument("--bare", action="store_true", help="Kubernetes alone, without Lateen's image")
        if name in ("shell", "test"):
            command.add_argument("rest", nargs=argparse.REMAINDER, help="after --: the command, or pytest's options")
    return parser


def up(node: Node, chosen: argparse.Namespace) -> int:
    if node.first_process():
        say("The node is up already. `make cluster-shell` enters it, `make cluster-down` ends it.")
        return 0
    _check_and_build(node)
    _start(node, with_us=False, bare=chosen.bare)
    say("`make cluster-shell` enters it, `make cluster-down` ends it.")
    return 0


def down(node: Node, _: argparse.Namespace) -> int:
    return _end(node)


def build(node: Node, _: argparse.Namespace) -> int:
    _check_and_build(node)
    return 0


def load(node: Node, _: argparse.Namespace) -> int:
    _load(node)
    return 0


def list_images(node: Node, _: argparse.Namespace) -> int:
    """Those that a foreign cluster lacks: Lateen's is written anew."""
    own = node.cache / f"{node.name}.tar"
    images.write_lateen(node.cache, CHECKOUT, own)
    for archive in (images.of_tests(node.cache), own):
        say(str(archive))
    return 0


def shell(node: Node, chosen: argparse.Namespace) -> int:
    rest = _without_dashes(chosen.rest)
    if not rest and node.first_process():
        say("Inside of the node. Try: kubectl get pods -A. Its programs' logs are in /run/lateen/logs; Ctrl-D leaves.")
    return _inside(node, rest or [os.environ.get("SHELL", "/bin/sh")])


def status(node: Node, _: argparse.Namespace) -> int:
    first = node.first_process()
    if first is None:
        say("No node is up.")
        return 1
    say(f"The node is up; its first process is {first}, its data is in {node.folder}.")
    return _inside(node, [sys.executable, "-m", "e2e.cluster.report"])


def test(node: Node, chosen: argparse.Namespace) -> int:
    """A node that is up is used, and stays up."""
    on_machine, in_cluster = parted(_without_dashes(chosen.rest))
    if kubeconfig := os.environ.get("KUBECONFIG"):
        say(f"Testing on the cluster of {kubeconfig}.")
        return subprocess.run([*_PYTEST, *in_cluster], cwd=CHECKOUT, check=False).returncode
    _check_and_build(node)
    here = _inside_old if node.first_process() else _inside_new
    return _worse(
        subprocess.run([*_PYTEST, *on_machine], cwd=CHECKOUT, check=False).returncode if on_machine else _NO_TESTS,
        here(node, [*_PYTEST, *in_cluster]) if in_cluster else _NO_TESTS,
    )


def parted(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """pytest's words for the tests on the machine, and for those in the cluster; none: there is nothing to run.

    Options are for both; files and tests that are named are for one of them.
    """
    named = [word for word in words if word.startswith("e2e/")]
    options = [word for word in words if word not in named]
    on_machine = [word for word in named if word.startswith(_ON_MACHINE)] if named else [_ON_MACHINE]
    in_cluster = [word for word in named if word not in on_machine] if named else ["e2e", f"--ignore={_ON_MACHINE}"]
    return [*on_machine, *options] if on_machine else [], [*in_cluster, *options] if in_cluster else []


def _inside_new(node: Node, command: Sequence[str]) -> int:
    """In a node that is there for this alone, however this ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that `finally` is done
    try:
        _start(node, with_us=True)
        return _inside(node, command)
    finally:
        _end(node)


def _inside_old(node: Node, command: Sequence[str]) -> int:
    """In a node that is up, and has Lateen as it was then."""
    _load(node)
    return _inside(node, command)


def _worse(one: int, other: int) -> int:
    """Of two runs of pytest. Options may choose tests of one alone: that the other had none is no failure then."""
    ran = [status for status in (one, other) if status != _NO_TESTS]
    return max(ran, default=_NO_TESTS)


def _start(node: Node, *, with_us: bool, bare: bool = False) -> None:
    begun = monotonic()
    with locked(node.lock):
        if node.first_process():
            raise FailedStep("Another command has started the node meanwhile. Try again: it will be used.")
        with _whole_or_not(node):
            node.start(with_us=with_us)
            if not bare:
                _write_lateen(node)  # while its programs start
            if _inside(node, [sys.executable, "-m", "e2e.cluster.bootstrap"]):
                raise FailedStep(f"The node did not become ready.\n{node.last_words()}")
    say(f"Kubernetes {building.version('kubernetes')} is up: {seconds(monotonic() - begun)}.")


@contextmanager
def _whole_or_not(node: Node) -> Iterator[None]:
    """Half a node is ended, whatever it was that stopped its start."""
    try:
        yield
    except BaseException:
        node.end()
        raise


def _end(node: Node) -> int:
    begun = monotonic()
    with locked(node.lock):
        was = node.first_process()
        node.end()
    say(f"The node is gone: {seconds(monotonic() - begun)}." if was else "No node was up; nothing of one is left.")
    return 0


def _write_lateen(node: Node) -> None:
    with step("Lateen's image"):
        images.write_lateen(node.cache, CHECKOUT, node.lateen_archive)


def _load(node: Node) -> None:
    command = node.entered([*IMPORT, str(IMAGES / node.lateen_archive.name)])
    _write_lateen(node)
    with step("imported"):
        run(command, "importing Lateen's image", environment=node.environment())


def _check_and_build(node: Node) -> None:
    requirements.check(to_build=not (building.all_built(node.cache) and base.folder(node.cache).is_dir()))
    building.build_all(node.cache)
    images.make_all(node.cache, CHECKOUT)
    forget_unused(node.cache, datetime.now(UTC).timestamp())


def _inside(node: Node, command: Sequence[str]) -> int:
    return subprocess.run(node.entered(command), env=node.environment(), cwd=CHECKOUT, check=False).returncode


def _without_dashes(words: Sequence[str]) -> list[str]:
    return list(words[1:] if words[:1] == ["--"] else words)


if __name__ == "__main__":
    sys.exit(main())
