"""What `kubectl get` shows of an object, and who writes it when the one who did is gone."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple

import pytest

from e2e.cluster.images import LATEEN
from e2e.kubectl import Kubectl, eventually
from e2e.manifests import container, deployment, pod_spec, service
from e2e.mesh import CONTROL_PLANE, NAMESPACE, lateen
from tests.conftest import Proved

pytestmark = pytest.mark.timeout(600)  # seconds, on a machine that is busy with other things

SYSTEM = Kubectl(NAMESPACE)
REPLICAS = 2
BOUND = 15.0  # seconds
_VALUES = (
    f"image={LATEEN}",
    f"controlPlane.replicas={REPLICAS}",
    "controlPlane.autoscaling.enabled=false",
    "controlPlane.resources.requests.cpu=50m",
    'injection.resources={"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}',
)
_SLEEPS = ("python3", "-c", "import signal; signal.pause()")


@pytest.fixture(scope="module")
def two_replicas() -> Iterator[None]:
    lateen("install", "--profile", "minimal", *(word for value in _VALUES for word in ("--set", value)))
    try:
        SYSTEM.rolled_out(f"deployment/{CONTROL_PLANE}")
        yield
    finally:
        lateen("uninstall", "--purge", "--delete-my-objects", "--yes")


@pytest.fixture
def shop(kubectl: Kubectl, two_replicas: None) -> Kubectl:
    """A Service, some Pods with sidecars, and rules."""
    del two_replicas
    kubectl("label", "namespace", kubectl.namespace, "istio-injection=enabled")
    kubectl.apply(
        service("bill", [{"name": "http", "port": 80}]),
        deployment("caller", 4, pod_spec(container("app", *_SLEEPS))),
        rules("bill", 7),
        routes("bill", "bill"),
        routes("nowhere", "nowhere"),
        edge(),
    )
    kubectl.rolled_out("deployment/caller")
    return kubectl


def istio(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def rules(name: str, connections: int) -> dict[str, Any]:
    pool = {"tcp": {"maxConnections": connections}}
    return istio("DestinationRule", name, {"host": "bill", "trafficPolicy": {"connectionPool": pool}})


def routes(name: str, destination: str) -> dict[str, Any]:
    route = {"route": [{"destination": {"host": destination}}]}
    return istio("VirtualService", name, {"hosts": [name], "http": [route]})


def edge() -> dict[str, Any]:
    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}
    return istio("Gateway", "edge", {"selector": {"app": "nobody"}, "servers": [server]})


def shown(kubectl: Kubectl, kind: str) -> dict[str, dict[str, str]]:
    """The columns of `kubectl get`, by name."""
    lines = kubectl("get", kind).splitlines()
    heads = lines[0].split()
    begins = [lines[0].index(head) for head in heads]
    found = {}
    for line in lines[1:]:
        cells = [line[begin:end].strip() for begin, end in zip(begins, [*begins[1:], None], strict=True)]
        found[cells[0]] = dict(zip(heads, cells, strict=True))
    return found


def condition(kubectl: Kubectl, what: str, name: str) -> dict[str, Any]:
    conditions = kubectl.json("get", what).get("status", {}).get("conditions", ())
    return next((each for each in conditions if each["type"] == name), {})


def test_get_shows_what_became_of_an_object(shop: Kubectl) -> None:
    """Proxies of both replicas count: nothing would be `True` if they did not tell each other."""
    for kind in ("virtualservices", "destinationrules"):
        found = eventually(partial(shown, shop, kind), lambda rows: is_well(rows["bill"]))
        assert found["bill"]["AGE"]
    message = condition(shop, "destinationrule/bill", "Programmed")["message"]
    assert message == "4 of 4 proxies run it"
    edges = eventually(lambda: shown(shop, "gateways"), lambda rows: rows["edge"]["PROGRAMMED"] == "Unknown")
    assert edges["edge"]["ACCEPTED"]
    lost = eventually(lambda: condition(shop, "virtualservice/nowhere", "ResolvedRefs"))
    assert (lost["status"], "nowhere" in lost["message"]) == ("False", True)
    events = eventually(
        lambda: shop.json("get", "events", "--field-selector", "involvedObject.name=nowhere")["items"], bool
    )
    assert {each["type"] for each in events} == {"Warning"}
    changed = shop.json("get", "destinationrule/bill")["metadata"]["generation"] + 1
    shop.apply(rules("bill", 8))
    took = settled(shop, changed)
    assert took < 10, "a change is told within seconds"


def test_an_ingress_shows_where_its_gateway_is(shop: Kubectl) -> None:
    gateway = service("istio-ingressgateway", [{"name": "http", "port": 80}], externalIPs=["192.0.2.7"])
    SYSTEM.apply(gateway)  # where there is no load balancer; it needs no Pods to have an address
    try:
        backend = {"service": {"name": "bill", "port": {"number": 80}}}
        spec = {"ingressClassName": "lateen", "defaultBackend": backend}
        shop.apply({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "in"}, "spec": spec})
        eventually(lambda: shown(shop, "ingresses"), lambda rows: rows["in"]["ADDRESS"] == "192.0.2.7")
    finally:
        SYSTEM("delete", "service", "istio-ingressgateway")
    eventually(lambda: shown(shop, "ingresses"), lambda rows: not rows["in"]["ADDRESS"])


def is_well(row: dict[str, str]) -> bool:
    return (row["ACCEPTED"], row["PROGRAMMED"]) == ("True", "True")


def settled(kubectl: Kubectl, generation: int) -> float:
    """Seconds until the rule's status is of this generation, and good."""

    def is_there(found: dict[str, Any]) -> bool:
        return (found.get("observedGeneration"), found.get("status")) == (generation, "True")

    began = monotonic()
    eventually(lambda: condition(kubectl, "destinationrule/bill", "Programmed"), is_there)
    return monotonic() - began


# Leaders that go


class Leader(NamedTuple):
    """Who has the Lease."""

    holder: str
    pod: str

    @classmethod
    def now(cls) -> "Leader":
        holder = eventually(lambda: SYSTEM.json("get", "lease", "lateen-leader")["spec"].get("holderIdentity", ""))
        return cls(holder, holder.rpartition("_")[0])

    @property
    def pid(self) -> int:
        """As the node knows it."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words, environment = ((process / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
            except OSError:
                continue  # it has ended, or is the kernel's
            if b"serve" in words and f"POD_NAME={self.pod}".encode() in environment:
                return int(process.name)
        raise AssertionError(f"no process of {self.pod}")


@contextmanager
def watched(kubectl: Kubectl) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Every status that the rule had, one after the other."""
    words = ("get", "destinationrule", "bill", "--watch", "--output", "json", "--output-watch-events")
    command = ["kubectl", "--namespace", kubectl.namespace, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:

        def found() -> list[dict[str, Any]]:
            process.terminate()
            assert process.stdout is not None
            decoder, text, objects = json.JSONDecoder(), process.stdout.read().strip(), []
            while text:
                one, end = decoder.raw_decode(text)
                objects.append(one["object"])
                text = text[end:].strip()
            return objects

        try:
            yield found
        finally:
            process.terminate()


def killed(leader: Leader) -> None:
    os.kill(leader.pid, signal.SIGKILL)


def deleted(leader: Leader) -> None:
    SYSTEM("delete", "pod", leader.pod, "--force", "--grace-period=0")


def frozen(leader: Leader) -> None:
    os.kill(leader.pid, signal.SIGSTOP)


@pytest.mark.node
@pytest.mark.point
def test_another_replica_writes_when_the_leader_is_gone(shop: Kubectl, proved: Proved) -> None:
    eventually(lambda: shown(shop, "destinationrules"), lambda rows: is_well(rows["bill"]))
    took: dict[str, float] = {}
    stale: list[str] = []
    for number, ends in enumerate((killed, deleted, frozen)):
        leader = Leader.now()
        pid = leader.pid
        with watched(shop) as statuses:
            began = monotonic()
            ends(leader)
            shop.apply(rules("bill", 100 + number))
            generation = int(shop.json("get", "destinationrule/bill")["metadata"]["generation"])
            # Proxies of a leader that is gone come back to the other; of a frozen one they stay where they are.
            eventually(partial(observed, shop), generation.__eq__)
            took[ends.__name__] = monotonic() - began
            assert Leader.now().holder != leader.holder
            if ends is frozen:
                os.kill(pid, signal.SIGCONT)
            sleep(8)  # whoever came back would have written by now
            stale += [f"{ends.__name__}: {wrong}" for wrong in backwards(statuses())]
        SYSTEM.rolled_out(f"deployment/{CONTROL_PLANE}")
        settled(shop, generation)
    proved(
        "kubernetes 6",
        "seconds until another replica writes status: leader killed with -9, its Pod deleted, its process stopped",
        bound="< 15",
        figure=", ".join(f"{name} {seconds:.1f}" for name, seconds in took.items()),
        holds=max(took.values()) < BOUND,
        cases=len(took),
        asked=3,
    )
    proved(
        "kubernetes 6",
        "statuses of an earlier leader over those of a later one, also after it went on",
        bound="0",
        figure=str(len(stale)),
        holds=not stale,
        cases=len(took),
        asked=3,
    )


def observed(kubectl: Kubectl) -> int:
    found = kubectl.json("get", "destinationrule/bill")["status"]["observedGeneration"]
    assert isinstance(found, int)
    return found


def backwards(statuses: list[dict[str, Any]]) -> list[str]:
    """Where a status spoke of less than the one before."""
    seen = [each["status"]["observedGeneration"] for each in statuses if "status" in each]
    assert seen
    return [f"{before} -> {after}" for before, after in pairwise(seen) if after < before]
