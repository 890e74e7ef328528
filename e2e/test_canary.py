"""The weighted canary by kubectl: examples/bill-service as it is, called from inside of the mesh and from outside."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from random import Random  # noqa: TID251  seeded by the test
from time import sleep
from typing import Any, NamedTuple

import pytest
import yaml

from e2e import load
from e2e.cluster import report
from e2e.cluster.node import CHECKOUT
from e2e.kubectl import Kubectl, eventually
from e2e.load import Load
from e2e.manifests import container, pod
from e2e.mesh import NAMESPACE, installed, lateen
from e2e.metrics import counted
from tests.conftest import Proved, Size
from tests.proof.load import Account

pytestmark = [pytest.mark.point, pytest.mark.timeout(1800)]

EXAMPLE = CHECKOUT / "examples/bill-service"
DEMO = Kubectl("istio-demo")
PLAIN = Kubectl("default")
CLIENT = "deploy/front-tomcat"
OUTSIDER = pod("outsider", container("outsider", "sleep", "infinity"))
INSIDE = "http://bill-service:9999/"
FULL_NAME = "http://bill-service.istio-demo:9999/"
EDGE_HOST = "bill.example.com"
GATEWAY = "istio-ingressgateway"
ANSWERS = {b"this is bill-service-v1\n": "v1", b"hello, this is bill-service-v2\n": "v2"}
SIGMAS = 4
MOST_MB, MOST_AT_REST = 256, 0.05  # of memory; of a core
GATEWAY_OBJECT = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "Gateway",
    "metadata": {"name": "bill"},
    "spec": {
        "selector": {"istio": "ingressgateway"},
        "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": [EDGE_HOST]}],
    },
}


class Step(NamedTuple):
    """One file of the example's, and what callers see of it."""

    file: str
    canary: float  # v2's share of the answers
    headers: Mapping[str, str] = {}


STEPS = {
    "90/10": Step("1-ninety-ten.yaml", 0.1),
    "99/1": Step("2-ninety-nine-one.yaml", 0.01),
    "testers": Step("3-testers.yaml", 1, {"x-tester": "true"}),
    "everybody else": Step("3-testers.yaml", 0),
    "mirror": Step("4-mirror.yaml", 0),
    "0/100": Step("5-all-v2.yaml", 1),
}


@pytest.fixture(scope="module", autouse=True)
def demo() -> Iterator[None]:
    """The mesh, the example, and a client that is in no mesh."""
    with installed("demo"):
        try:
            DEMO("apply", "--filename", str(EXAMPLE))
            DEMO.apply(GATEWAY_OBJECT)
            PLAIN.apply(OUTSIDER)
            for name in ("bill-service-v1", "bill-service-v2", "front-tomcat"):
                DEMO.rolled_out(f"deployment/{name}")
            PLAIN.waited("pod/outsider", "condition=Ready")
            yield
        finally:
            PLAIN("delete", "pod", "outsider", "--ignore-not-found", "--wait=false")
            DEMO("delete", "namespace", DEMO.namespace, "--ignore-not-found")


@pytest.fixture(autouse=True)
def _no_rules() -> Iterator[None]:
    """Each test begins as the example does."""
    yield
    DEMO("delete", "virtualservices,destinationrules", "--all")


def test_half_and_half_without_rules(size: Size, proved: Proved) -> None:
    """As kube-proxy has it, which chooses for each connection: a client outside of the mesh that makes one a call."""
    asked = size(1000, 20_000)
    account = load.called(PLAIN, "pod/outsider", FULL_NAME, asked, connections=8, fresh=True)
    record(proved, "50/50 by kube-proxy", "from a Pod that is in no mesh", account, 0.5, asked)


@pytest.mark.parametrize("name", STEPS)
def test_a_step(name: str, size: Size, proved: Proved) -> None:
    step, asked = STEPS[name], size(1000, 20_000)
    before = copies()
    use(step.file)
    how: dict[str, Any] = {"connections": 8, "headers": step.headers}
    inside = load.called(DEMO, CLIENT, INSIDE, asked, **how)
    outside = load.called(PLAIN, "pod/outsider", f"http://{EDGE_HOST}/", asked, to=gateway(), **how)
    record(proved, name, "through the client's sidecar", inside, step.canary, asked)
    record(proved, name, "through the ingress gateway", outside, step.canary, asked)
    if name == "mirror":
        found = eventually(lambda: copies() - before, lambda count: count >= 2 * asked)
        proved(
            "kubernetes 1.1", "calls of which the mirror had a copy",
            bound="all", figure=f"{found:,} of {2 * asked:,}", holds=found == 2 * asked, cases=found, asked=2 * asked,
        )  # fmt: skip


def test_weights_change_under_load(size: Size, proved: Proved) -> None:
    """Somebody impatient: the next weight often comes in the middle of the last."""
    asked, random = size(10, 100), Random(1)
    use("1-ninety-ten.yaml")
    with (
        Load(DEMO, CLIENT, INSIDE, connections=4) as inside,
        Load(PLAIN, "pod/outsider", f"http://{EDGE_HOST}/", to=gateway(), connections=4) as outside,
    ):
        for _ in range(asked):
            share = random.randint(0, 100)
            apply(weighted(share))
            if random.random() < 0.2:
                in_force()
    in_force()
    for where, account in (("the client's sidecar", inside.account), ("the ingress gateway", outside.account)):
        proved(
            "kubernetes 1.2", f"calls that failed while weights changed, through {where}",
            bound="0", figure=f"{account.failed.total()} of {account.total:,}, slowest {account.slowest:.2f} s",
            holds=not account.failed, cases=asked, asked=asked,
        )  # fmt: skip
    calls = size(1000, 20_000)
    account = load.called(DEMO, CLIENT, INSIDE, calls, connections=8)
    record(proved, "the last of the changes", "through the client's sidecar", account, share / 100, calls)


@pytest.mark.node
def test_what_the_demo_mesh_costs_when_nothing_happens(size: Size, proved: Proved) -> None:
    """Memory as the kernel counts it of a Pod; processor time while nobody calls or changes anything."""
    uids = {
        "the control plane": uid_of(Kubectl(NAMESPACE), "app=lateend"),
        "the ingress gateway": uid_of(Kubectl(NAMESPACE), "istio=ingressgateway"),
        "a client and its sidecar": uid_of(DEMO, "app=front-tomcat"),
    }
    seconds = size(5, 120)
    before = {name: report.of_pod(uid) for name, uid in uids.items()}
    sleep(seconds)
    for name, uid in uids.items():
        used = report.of_pod(uid)
        cores = (used.cpu - before[name].cpu) / seconds
        proved(
            "kubernetes 9", f"with the demo mesh, {name}: MB; share of a core at rest",
            bound=f"< {MOST_MB}; < {MOST_AT_REST}", figure=f"{used.memory}; {cores:.4f}",
            holds=used.memory < MOST_MB and cores < MOST_AT_REST, cases=seconds, asked=seconds,
        )  # fmt: skip
    memory, cache = report.of_all()
    proved(
        "kubernetes 9", "the whole node with the demo mesh: MB of programs; MB of images and files in memory",
        bound="2048; none", figure=f"{memory}; {cache}", holds=memory < 2048, cases=1, asked=1,
    )  # fmt: skip


def uid_of(kubectl: Kubectl, selector: str) -> str:
    (found,) = kubectl.json("get", "pods", "--selector", selector)["items"]
    return str(found["metadata"]["uid"])


def record(proved: Proved, step: str, way: str, account: Account, share: float, asked: int) -> None:
    found = by_version(account)
    sigma = math.sqrt(asked * share * (1 - share))
    off, failed = abs(found["v2"] - asked * share), account.failed.total()
    sigmas = f", {off / sigma:.1f} sigma off" if sigma else ""
    proved(
        "kubernetes 1.1", f"canary {step}, {way}: answers of v2; failed",
        bound=f"within {SIGMAS} sigma; 0" if sigma else "all or none; 0",
        figure=f"{found['v2']:,} of {asked:,}{sigmas}; {failed}",
        holds=off <= SIGMAS * sigma and not failed, cases=account.total, asked=asked,
    )  # fmt: skip


def by_version(account: Account) -> Counter[str]:
    """An answer that is nobody's is an error."""
    found: Counter[str] = Counter()
    for body, count in account.answers.items():
        found[ANSWERS[body]] += count
    return found


# Rules


def use(file: str) -> None:
    """A file of the example's as it is, and the same routes for the gateway; until every proxy runs them."""
    apply(rules(file))
    in_force()


def rules(file: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((EXAMPLE / "rules" / file).read_text()))


def weighted(share: int) -> list[dict[str, Any]]:
    """The example's rules with another share for v2."""
    found = rules("1-ninety-ten.yaml")
    for destination, weight in zip(found[1]["spec"]["http"][0]["route"], (100 - share, share), strict=True):
        destination["weight"] = weight
    return found


def apply(found: list[dict[str, Any]]) -> None:
    inside = next(each for each in found if each["kind"] == "VirtualService")
    spec = {**inside["spec"], "hosts": [EDGE_HOST], "gateways": ["bill"]}
    DEMO.apply(*found, {**inside, "metadata": {"name": "bill-edge"}, "spec": spec})


def in_force() -> None:
    for name in ("bill-service", "bill-edge"):
        lateen("wait", f"virtualservice/{name}", "-n", DEMO.namespace, "--namespace", NAMESPACE)


def gateway() -> str:
    return f"{Kubectl(NAMESPACE).json('get', 'service', GATEWAY)['spec']['clusterIP']}:80"


def copies() -> int:
    """Calls that v2's sidecar handed on."""
    (own,) = DEMO.json("get", "pods", "--selector", "version=v2")["items"]
    return counted(PLAIN, "pod/outsider", own["status"]["podIP"], "envoy_cluster_upstream_rq_total", "inbound|80||")
