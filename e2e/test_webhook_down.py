"""Nobody answers for the webhooks: who did not ask for the mesh does not notice, and nobody has to put it right."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Any

import pytest

from controlplane.model.kinds import MESH_KINDS
from e2e.kubectl import Kubectl, KubectlError, eventually
from e2e.load import Load
from e2e.manifests import container, pod
from e2e.mesh import CONTROL_PLANE, NAMESPACE
from e2e.web import caller, stands, web
from tests.conftest import Proved
from tests.model.documents import documents

pytestmark = [pytest.mark.point, pytest.mark.timeout(600), pytest.mark.usefixtures("mesh")]

POINT = "kubernetes 5"
RECOVERY = 30  # seconds
CONTROL = Kubectl(NAMESPACE)
WEBHOOKS = (
    "mutatingwebhookconfiguration/lateen-sidecar-injector",
    "validatingwebhookconfiguration/lateen-validator",
)


@pytest.fixture
def shop(kubectl: Kubectl) -> Kubectl:
    """A namespace that is in the mesh, with a server and its caller."""
    return stands(kubectl, *web("server", "hello"))


@pytest.fixture
def elsewhere(kubectl: Kubectl) -> Iterator[Kubectl]:
    """A namespace that is not in the mesh."""
    other = Kubectl(f"{kubectl.namespace}-plain")
    other("create", "namespace", other.namespace)
    eventually(lambda: other("get", "serviceaccount", "default"))
    yield other
    other("delete", "namespace", other.namespace, "--wait=false")


def webhooks() -> list[Any]:
    """Of both kinds, as they are."""
    return [CONTROL.json("get", name)["webhooks"] for name in WEBHOOKS]


def broken() -> None:
    """As by hand: nobody can be believed any more."""
    for name in WEBHOOKS:
        words = '[{"op":"replace","path":"/webhooks/0/clientConfig/caBundle","value":""}]'
        CONTROL("patch", name, "--type=json", "--patch", words)


@contextmanager
def nobody_there() -> Iterator[None]:
    """Every replica of the control plane is away."""
    CONTROL("scale", f"deployment/{CONTROL_PLANE}", "--replicas=0")
    try:
        eventually(lambda: not CONTROL.json("get", "pods", "--selector", f"app={CONTROL_PLANE}")["items"])
        yield
    finally:
        CONTROL("scale", f"deployment/{CONTROL_PLANE}", "--replicas=1")


def idle(name: str, **labels: str) -> dict[str, Any]:
    made = pod(name, container("idle", "sleep", "infinity"))
    made["metadata"]["labels"] |= labels
    return made


def starts(kubectl: Kubectl, manifest: dict[str, Any]) -> bool:
    name = manifest["metadata"]["name"]
    kubectl.apply(manifest)
    kubectl.waited(f"pod/{name}", "condition=Ready")
    (spec,) = [kubectl.json("get", "pod", name)["spec"]]
    kubectl("delete", "pod", name, "--wait=false")
    return not spec.get("initContainers")


def taken(kubectl: Kubectl, manifest: dict[str, Any]) -> bool:
    kubectl.apply(manifest)
    return True


def applied(kubectl: Kubectl, document: Mapping[str, Any]) -> bool:
    """Made, changed and taken away again."""
    group, _, _ = document["apiVersion"].partition("/")
    kind, name = f"{document['kind']}.{group}".lower(), document["metadata"]["name"]
    kubectl.apply({**document, "metadata": {"name": name}})
    kubectl("annotate", kind, name, "e2e.lateen.dev/changed=yes")
    kubectl("delete", kind, name)
    return True


def one_of_each_kind() -> list[dict[str, Any]]:
    found = {document["kind"]: document for document in documents()}
    assert found.keys() == {kind.kind for kind in MESH_KINDS}
    return list(found.values())


def failures(tries: Mapping[str, Callable[[], bool]]) -> dict[str, str]:
    """What did not go well, and why."""
    found = {}
    for name, attempt in tries.items():
        try:
            if not attempt():
                found[name] = "it has a proxy"
        except KubectlError as error:
            found[name] = str(error)
    return found


def test_without_a_control_plane_the_mesh_alone_waits_and_comes_back_by_itself(
    shop: Kubectl, elsewhere: Kubectl, proved: Proved
) -> None:
    good = webhooks()
    began = monotonic()
    broken()
    eventually(webhooks, good.__eq__)
    by_hand = monotonic() - began

    outside = {
        "in a namespace that is not in the mesh": lambda: starts(elsewhere, idle("plain")),
        "that does not want it": lambda: starts(shop, idle("plain", **{"sidecar.istio.io/inject": "false"})),
        "in kube-system": lambda: starts(Kubectl("kube-system"), idle(f"plain-{shop.namespace}")),
        "beside the control plane": lambda: starts(CONTROL, idle(f"plain-{shop.namespace}")),
    }
    objects = {one["kind"]: lambda one=one: applied(shop, one) for one in one_of_each_kind()}
    with Load(shop, "pod/client", "http://server/", "client", connections=1, pause=0.005) as load:
        with nobody_there():
            broken()
            refused, not_applied = failures(outside), failures(objects)
            with pytest.raises(KubectlError, match="failed calling webhook"):
                shop.apply(caller("late"))
        began = monotonic()
        eventually(lambda: taken(shop, caller("late")))
        recovered = monotonic() - began
        eventually(webhooks, good.__eq__)
        shop.waited("pod/late", "condition=Ready")
    assert len(shop.json("get", "pod", "late")["spec"]["initContainers"]) == 2
    proved(
        POINT, "Pods outside of the mesh that do not start without a control plane", bound="0",
        figure=str(len(refused)), holds=not refused, cases=len(outside), asked=4,
    )  # fmt: skip
    proved(
        POINT, "kinds whose objects cannot be made, changed or deleted without it", bound="0",
        figure=str(len(not_applied)), holds=not not_applied, cases=len(objects), asked=len(MESH_KINDS),
    )  # fmt: skip
    proved(
        POINT, "requests of the mesh that fail without it and while it comes back", bound="0",
        figure=str(load.account.failed.total()), holds=not load.account.failed, cases=load.account.total, asked=1_000,
    )  # fmt: skip
    proved(
        POINT, "seconds from its start until Pods are injected, with caBundles that were broken meanwhile",
        bound=f"< {RECOVERY}", figure=f"{recovered:.1f}", holds=recovered < RECOVERY, cases=1, asked=1,
    )  # fmt: skip
    proved(
        POINT, "seconds until caBundles that somebody broke are right again", bound="< 10", figure=f"{by_hand:.1f}",
        holds=by_hand < 10, cases=len(WEBHOOKS), asked=2,
    )  # fmt: skip
