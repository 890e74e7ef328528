"""Certificates and roots that change under load, and a control plane that is away: callers notice nothing.

Real Envoys with their agents, the real authority, and a load that accounts for every single request.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Self

import pytest
import yaml

from controlplane.cli.refusal import Refused
from controlplane.local.demo import lay_out
from tests.envoys.process import wait_for
from tests.proof.load import Load
from tests.proof.secured import SecuredMesh, secured

pytestmark = [pytest.mark.point, pytest.mark.timeout(1800)]

CLIENT = "front-tomcat"
_LOOK = 0.5  # seconds
URL = "http://bill-service:9999/"
LIFETIME = 40.0  # seconds, while the control plane is away
DOWN = 0.4  # of a lifetime
STRICT = {
    "apiVersion": "security.istio.io/v1",
    "kind": "PeerAuthentication",
    "metadata": {"name": "default", "namespace": "istio-demo"},
    "spec": {"mtls": {"mode": "STRICT"}},
}


def _strict(folder: Path) -> Path:
    directory = lay_out(folder)
    (directory / "strict.yaml").write_text(yaml.safe_dump(STRICT))
    return directory


class Watch:
    """What certificates the Envoys use, looked at now and then."""

    def __init__(self, mesh: SecuredMesh) -> None:
        self.seen: dict[str, set[str]] = {name: set() for name in mesh.proxies}
        self._mesh = mesh
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @property
    def rotations(self) -> int:
        """Certificates that took the place of another."""
        return sum(max(0, len(serials) - 1) for serials in self.seen.values())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_LOOK):
            for name, proxy in self._mesh.proxies.items():
                self.seen[name].add(proxy.certificate())


@contextmanager
def load_on(mesh: SecuredMesh) -> Iterator[Load]:
    client = mesh.replica(CLIENT)
    with Load(client.address, client.http_proxy_port, URL, connections=8) as load:
        load.wait_for(100)
        yield load


def until(mesh: SecuredMesh, condition: Callable[[], bool], what: Callable[[], str], seconds: float = 60.0) -> None:
    def alive() -> None:
        for proxy in mesh.proxies.values():
            proxy.check_alive()

    wait_for(condition, what, alive, seconds)


def test_certificates_and_a_root_change_under_load(size, proved):
    """Small, certificates last long beside other tests: whatever is late then must not be too late."""
    rotations, requests, lifetime = size(3, 100), size(2000, 100_000), size(30, 10)
    with secured(_strict, f"{lifetime}s") as mesh, load_on(mesh) as load, Watch(mesh) as watch:
        rotate_root(mesh, {name: proxy.roots() for name, proxy in mesh.proxies.items()})
        until(
            mesh,
            lambda: watch.rotations >= rotations and load.account.total >= requests,
            lambda: f"{rotations} rotations: {watch.seen}",
            seconds=size(120, 1200),
        )
    print(load.account)
    proved(
        "identity 3", "certificates and one root rotated under load: failed requests, proxies started anew",
        bound="0, 0", figure=f"{load.account.failed.total()} of {load.account.total:,} in {watch.rotations} rotations, 0",
        holds=not load.account.failed, cases=watch.rotations, asked=rotations,
    )  # fmt: skip


def rotate_root(mesh: SecuredMesh, before: Mapping[str, frozenset[str]]) -> None:
    """All three steps, each as soon as it is not refused any more; then nobody trusts what was trusted before."""
    mesh.rotate("begin")
    for step in ("switch", "finish"):
        until(mesh, partial(_taken, mesh, step), lambda: str(mesh.ask("/ca")["proxies"]))
    until(
        mesh,
        lambda: all(before[name].isdisjoint(proxy.roots()) for name, proxy in mesh.proxies.items()),
        lambda: "the old root to be gone",
    )


def _taken(mesh: SecuredMesh, step: str) -> bool:
    try:
        mesh.rotate(step)
    except Refused:
        return False
    return True


def test_the_control_plane_is_away_for_two_fifths_of_a_lifetime(size, proved):
    asked, shortest = size(1, 5), LIFETIME
    with secured(_strict, f"{LIFETIME:.0f}s") as mesh, load_on(mesh) as load:
        for _ in range(asked):
            began = load.seconds
            mesh.kill()
            until(mesh, partial(_has_passed, load, began + DOWN * LIFETIME), lambda: "time to pass")
            mesh.start()
            shortest = min(shortest, load.seconds - began)
            before = {name: proxy.certificate() for name, proxy in mesh.proxies.items()}
            until(mesh, partial(_renewed, mesh, before), lambda: "all proxies to have renewed")
    print(load.account)
    proved(
        "identity 3", f"the control plane away for {DOWN:.0%} of a certificate's life and more: failed requests",
        bound="0", figure=f"{load.account.failed.total()} of {load.account.total:,}, away {shortest / LIFETIME:.0%}",
        holds=not load.account.failed and shortest >= DOWN * LIFETIME, cases=asked, asked=asked,
    )  # fmt: skip


def _renewed(mesh: SecuredMesh, before: Mapping[str, str]) -> bool:
    return all(proxy.certificate() != before[name] for name, proxy in mesh.proxies.items())


def _has_passed(load: Load, moment: float) -> bool:
    return load.seconds >= moment
