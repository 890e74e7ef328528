"""The API server is away, for long, or comes back without its history: who calls does not notice.

What proxies have is held against what they had: nothing may be removed because somebody did not answer.
"""

import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPSConnection
from time import monotonic, sleep
from typing import Any, Self
from urllib.request import urlopen

import pytest

from controlplane.install.names import IDENTITY_PORT
from e2e.cluster import control, store
from e2e.cluster.addresses import API_SERVER_PORT
from e2e.kubectl import Kubectl, eventually
from e2e.load import Load
from e2e.manifests import service
from e2e.mesh import CONTROL_PLANE, NAMESPACE
from e2e.web import answering, stands, web
from tests.conftest import Proved, Size

pytestmark = [
    pytest.mark.node,
    pytest.mark.point,
    pytest.mark.timeout(1200),  # seconds: five minutes of it nothing happens, at full size
    pytest.mark.usefixtures("mesh"),
]

POINT = "kubernetes 4"
CATCH_UP = 5  # seconds
GENTLE: dict[str, Any] = {"connections": 2, "pause": 0.003}  # the API server that begins anew needs the machine
_REMOVED = ("envoy_cluster_manager_cluster_removed", "envoy_listener_manager_listener_removed")
_ENDPOINTS = "envoy_cluster_membership_change"
_PORT = {"name": "http", "port": 80, "targetPort": 8080}


@pytest.fixture
def shop(kubectl: Kubectl) -> Kubectl:
    """A server and its caller, who sees its own namespace alone: those of other tests come and go meanwhile."""
    return stands(kubectl, only_itself(), *web("server", "before", replicas=2))


def only_itself() -> dict[str, object]:
    spec = {"egress": [{"hosts": ["./*"]}]}
    return {"apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": {"name": "default"}, "spec": spec}


class Readiness:
    """What the control plane says of itself, asked five times a second: kubelet's own looks are further apart."""

    def __init__(self, address: str) -> None:
        self.asked = 0
        self.bad: list[str] = []
        self._address = address
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        anybody = ssl._create_unverified_context()  # noqa: SLF001  kubelet does not look at certificates either
        while not self._over.wait(0.2):
            self.asked += 1
            connection = HTTPSConnection(self._address, IDENTITY_PORT, timeout=5, context=anybody)
            try:
                connection.request("GET", "/healthz/ready")
                if (status := connection.getresponse().status) != 200:
                    self.bad.append(str(status))
            except (OSError, HTTPException) as error:
                self.bad.append(repr(error))
            finally:
                connection.close()


def control_plane() -> tuple[str, int]:
    """Where it is, and how often it was started anew."""
    (pod,) = Kubectl(NAMESPACE).json("get", "pods", "--selector", f"app={CONTROL_PLANE}")["items"]
    (container,) = pod["status"]["containerStatuses"]
    return pod["status"]["podIP"], container["restartCount"]


class Counters:
    """What the proxies of a namespace have counted since."""

    def __init__(self, kubectl: Kubectl) -> None:
        pods = kubectl.json("get", "pods")["items"]
        self._addresses = [pod["status"]["podIP"] for pod in pods]
        self._before = self._now()

    def _now(self) -> tuple[int, int]:
        pages = [urlopen(f"http://{address}:15020/stats/prometheus").read().decode() for address in self._addresses]
        lines = [line for page in pages for line in page.splitlines()]
        removed = sum(_value(line) for line in lines if line.startswith(_REMOVED))
        endpoints = sum(
            _value(line) for line in lines if line.startswith(_ENDPOINTS) and "outbound|80||server." in line
        )
        return removed, endpoints

    def since(self) -> tuple[int, int]:
        """Clusters and listeners removed; changes of the server's endpoints."""
        return tuple(now - before for now, before in zip(self._now(), self._before, strict=True))  # type: ignore[return-value]


def _value(line: str) -> int:
    return int(float(line.rsplit(maxsplit=1)[-1]))


def returned(kubectl: Kubectl) -> None:
    """Waits until the API server says that it is there."""
    eventually(lambda: kubectl("get", "--raw", "/readyz"))


@contextmanager
def cut_off(address: str) -> Iterator[None]:
    """The API server refuses one Pod, on connections that are there, too."""
    rule = (
        "INPUT",
        "-s",
        address,
        "-p",
        "tcp",
        "--dport",
        str(API_SERVER_PORT),
        "-j",
        "REJECT",
        "--reject-with",
        "tcp-reset",
    )
    subprocess.run(["iptables", "-I", *rule], check=True)
    try:
        yield
    finally:
        subprocess.run(["iptables", "-D", *rule], check=True)


def seconds_until(load: Load, answer: bytes, began: float) -> float:
    """Until one call was answered so."""
    eventually(lambda: load.look().answers[answer])
    return monotonic() - began


def test_an_api_server_that_is_away_is_not_missed(shop: Kubectl, proved: Proved, size: Size) -> None:
    away = size(20, 300)
    address, restarts = control_plane()
    counters = Counters(shop)
    with Load(shop, "pod/client", "http://server/", "client", **GENTLE) as load, Readiness(address) as ready:
        with control.stopped("kube-apiserver"):
            sleep(away)
        returned(shop)
        began = monotonic()
        shop.apply(answering("after"))
        took = seconds_until(load, b"after\n", began)
    removed, endpoints = counters.since()
    account = load.account
    print(account)
    calls = size(2_000, 100_000)
    proved(
        POINT, f"requests that fail while the API server is away, {away} s, and comes back", bound="0",
        figure=str(account.failed.total()), holds=not account.failed, cases=account.total, asked=calls,
    )  # fmt: skip
    proved(
        POINT, "times that the control plane was not ready meanwhile, or was started anew", bound="0",
        figure=str(len(ready.bad) + control_plane()[1] - restarts),
        holds=not ready.bad and control_plane() == (address, restarts), cases=ready.asked, asked=2 * away,
    )  # fmt: skip
    proved(
        POINT, "seconds from its return until a change is in effect", bound=f"< {CATCH_UP}", figure=f"{took:.1f}",
        holds=took < CATCH_UP, cases=1, asked=1,
    )  # fmt: skip
    proved(
        POINT, "clusters, listeners and endpoints that proxies lost by it", bound="0", figure=str(removed + endpoints),
        holds=removed + endpoints == 0, cases=3, asked=3,
    )  # fmt: skip


def test_a_history_that_was_compacted_meanwhile_costs_one_list(shop: Kubectl, proved: Proved, size: Size) -> None:
    """While it is cut off a Service goes and a rule comes; then the API server begins anew without a history."""
    away = size(0, 60)
    shop.apply(service("goes", [_PORT]), service("stays", [_PORT]))
    address, restarts = control_plane()
    with Load(shop, "pod/client", "http://server/", "client", **GENTLE) as load, Readiness(address) as ready:
        eventually(lambda: "outbound|80||goes." in clusters(shop))
        counters = Counters(shop)
        with cut_off(address):
            sleep(away)
            shop("delete", "service", "goes")
            shop.apply(answering("after"))
            with control.stopped("kube-apiserver"):
                store.compact()
            returned(shop)
        began = monotonic()
        took = seconds_until(load, b"after\n", began)
        eventually(lambda: "outbound|80||goes." not in clusters(shop))
    removed, endpoints = counters.since()
    account = load.account
    print(account)
    proved(
        POINT, "requests that fail while etcd is compacted and the watch is cut", bound="0",
        figure=str(account.failed.total()), holds=not account.failed, cases=account.total, asked=size(1_000, 20_000),
    )  # fmt: skip
    proved(
        POINT, "times that the control plane was not ready meanwhile, or was started anew", bound="0",
        figure=str(len(ready.bad) + control_plane()[1] - restarts),
        holds=not ready.bad and control_plane() == (address, restarts), cases=ready.asked, asked=10,
    )  # fmt: skip
    proved(
        POINT, "seconds from the end of the cut until what changed meanwhile is in effect", bound=f"< {CATCH_UP}",
        figure=f"{took:.1f}", holds=took < CATCH_UP, cases=1, asked=1,
    )  # fmt: skip
    proved(
        POINT, "clusters that proxies lost, beside that of the one Service that went", bound="0",
        figure=str(removed - 3 + endpoints), holds=(removed, endpoints) == (3, 0), cases=3, asked=3,
    )  # fmt: skip


def clusters(kubectl: Kubectl) -> str:
    """What the caller's Envoy has."""
    return kubectl.ran("client", "curl", "--silent", "http://127.0.0.1:15020/stats/prometheus", container="client")
