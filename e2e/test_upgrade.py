"""A mesh from its first to its last day under load: installed, moved to another revision, and taken away.

Callers inside go on without a control plane: what their proxies have is theirs. Callers outside have the ingress
gateway until it is taken away.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from e2e.kubectl import Kubectl, eventually
from e2e.load import Load
from e2e.manifests import service
from e2e.mesh import NAMESPACE, SMALL, lateen
from e2e.web import answering, caller, joined, virtual_service, web
from tests.conftest import Proved, Size

pytestmark = [pytest.mark.point, pytest.mark.timeout(900)]

POINT = "kubernetes 8"
GATEWAY = "istio-ingressgateway"
HOST = "shop.example.com"
_NAMES = r'{range .items[*]}{.kind} {.metadata.namespace} {.metadata.name}{"\n"}{end}'
# What comes and goes by itself in any cluster, or is a cluster's own note of a CRD or a Service that is there.
_PASSING = (
    "events",
    "events.events.k8s.io",
    "leases.coordination.k8s.io",
    "endpoints",
    "apiservices.apiregistration.k8s.io",
    "ipaddresses.networking.k8s.io",
)


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Whatever became of the test, the next one has a cluster without us."""
    yield
    lateen("uninstall", "--purge", "--delete-my-objects", "--yes")


def everything(kubectl: Kubectl) -> set[str]:
    """All objects of all kinds that the cluster has, beyond those in the test's own namespace."""
    kinds = kubectl("api-resources", "--verbs=list", "--output=name").split()
    words = ("get", ",".join(kind for kind in kinds if kind not in _PASSING), "--all-namespaces")
    found = kubectl(*words, "--ignore-not-found", "--output", f"jsonpath={_NAMES}").splitlines()
    return {line for line in found if f" {kubectl.namespace} " not in line and "metrics.k8s.io" not in line}


def from_outside() -> dict[str, object]:
    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": [HOST]}
    spec = {"selector": {"istio": "ingressgateway"}, "servers": [server]}
    return {"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "outside"}, "spec": spec}


def revision_of(kubectl: Kubectl, selector: str) -> set[str]:
    pods = kubectl.json("get", "pods", "--selector", selector)["items"]
    staying = [pod["metadata"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    return {metadata["labels"]["istio.io/rev"] for metadata in staying}


def restarted(kubectl: Kubectl, name: str) -> None:
    kubectl("rollout", "restart", f"deployment/{name}")
    kubectl.rolled_out(f"deployment/{name}")


@pytest.mark.usefixtures("nothing_left")
def test_from_one_revision_to_another_and_away_under_load(kubectl: Kubectl, proved: Proved, size: Size) -> None:
    before = everything(kubectl)
    shop = kubectl
    lateen("install", "--profile", "demo", *SMALL)
    lateen("tag", "set", "prod", "--revision", "default")
    joined(shop, "istio.io/rev=prod")
    rule = virtual_service(
        "server",
        hosts=["server", HOST],
        gateways=["mesh", "outside"],
        http=[{"route": [{"destination": {"host": "server"}}], "timeout": "5s"}],
    )
    outsider = caller("outsider", **{"sidecar.istio.io/inject": "false"})
    shop.apply(from_outside(), rule, *web("server", "hello", replicas=2), caller(), outsider)
    shop.rolled_out("deployment/server")
    for name in ("client", "outsider"):
        shop.waited(f"pod/{name}", "condition=Ready")
    mine = {kind: shop.json("get", kind, name) for kind, name in (("virtualservice", "server"), ("gateway", "outside"))}
    edge = f"{GATEWAY}.{NAMESPACE}:80"
    eventually(
        lambda: shop.ran("outsider", "curl", "--silent", "--fail", "--header", f"Host: {HOST}", f"http://{edge}")
    )

    old = Load(shop, "pod/client", "http://server/", "client", connections=1)
    ingress = Load(shop, "pod/outsider", f"http://{HOST}/", "client", connections=1, to=edge)
    with old, ingress:
        lateen("install", "--profile", "demo", "--revision", "next", *SMALL)
        lateen("tag", "set", "prod", "--revision", "next")
        restarted(shop, "server")
        assert revision_of(shop, "app=server") == {"next"}
        shop.apply(caller("client-of-next"))
        shop.waited("pod/client-of-next", "condition=Ready")
        lateen("upgrade", "--revision", "next", "--yes", *SMALL)
        Kubectl(NAMESPACE).rolled_out(f"deployment/{GATEWAY}")
        ingress.look()
        ingress.wait_for(100)
    new = Load(shop, "pod/client-of-next", "http://server/", "client", connections=1)
    with new:
        lateen("uninstall", "--revision", "default", "--yes")
        shop.apply(service("later", [{"name": "http", "port": 80}]), answering("later", "later"))
        asked = ("curl", "--silent", "--fail", "--max-time", "5", "http://later/")
        eventually(lambda: shop.ran("client-of-next", *asked, container="client"), "later\n".__eq__)
        shop("delete", "virtualservice", "later")
        said = lateen("uninstall", "--purge", "--yes")
        new.look()
        new.wait_for(500)

    failed = old.account.failed + ingress.account.failed + new.account.failed
    calls = old.account.total + ingress.account.total + new.account.total
    added = everything(kubectl) - before
    crds = {f"CustomResourceDefinition  {name}.networking.istio.io" for name in ("virtualservices", "gateways")}
    print(said, old.account, ingress.account, new.account, added)
    proved(
        POINT, "requests that fail while a mesh is upgraded to another revision and taken away", bound="0",
        figure=str(failed.total()), holds=not failed, cases=calls, asked=size(3_000, 3_000),
    )  # fmt: skip
    proved(
        POINT, "objects that `uninstall --purge` leaves, beside the CRDs of users' objects", bound="0",
        figure=str(len(added - crds)), holds=added == crds, cases=len(before), asked=100,
    )  # fmt: skip
    changed = [kind for kind, old in mine.items() if not _same(shop.json("get", kind, old["metadata"]["name"]), old)]
    proved(
        POINT, "objects of users that are changed or gone after it", bound="0", figure=str(len(changed)),
        holds=not changed, cases=len(mine), asked=2,
    )  # fmt: skip


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one["spec"] == other["spec"] and one["metadata"]["uid"] == other["metadata"]["uid"])
