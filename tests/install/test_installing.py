"""Installing, upgrading and taking away, against a model of a cluster: what is written, and above all what is not."""

import copy
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from controlplane.install import manifests, preflight, tags
from controlplane.install.api import Api
from controlplane.install.health import Trouble
from controlplane.install.installing import STUCK_FOR, FailedError, Installer
from controlplane.install.names import Place
from controlplane.install.objects import Ref, ref_of
from controlplane.install.planning import Does, Step
from controlplane.install.reading import checked, combined, read_values
from controlplane.install.uninstalling import Uninstaller
from controlplane.install.upgrading import difference, installed, skew
from controlplane.install.values import VERSION, Values
from controlplane.install.verifying import bad, verify
from tests.conftest import Size
from tests.install.clusters import Cluster, api_of, ready_pod, status

DEFAULT = read_values("default").values
MINIMAL = read_values("minimal").values
HERE = Place()
CANARY = Place(revision="canary")
VIRTUAL_SERVICE = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "mine", "namespace": "shop"},
    "spec": {},
}


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        self.passed += seconds


class Watcher:
    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        self.waited: list[str] = []
        self.ups: list[Ref] = []

    def did(self, step: Step) -> None:
        self.done.append((step.does, str(step.ref)))

    def waits(self, ref: Ref, words: str, found: Sequence[Trouble]) -> None:
        self.waited.append(f"{ref}: {words}; {'; '.join(map(str, found))}")

    def up(self, ref: Ref) -> None:
        self.ups.append(ref)


def installer(api: Api, place: Place = HERE, watcher: Watcher | None = None, *, force: bool = False) -> Installer:
    time = Time()
    return Installer(api, place, time, watcher or Watcher(), sleep=time.sleep, force=force)


async def install(
    api: Api, values: Values = DEFAULT, place: Place = HERE, *, upgrade: bool = False, force: bool = False
) -> Watcher:
    watcher = Watcher()
    one = installer(api, place, watcher, force=force)
    found = await one.prepare(values, upgrade=upgrade)
    assert found.obstacles == ()
    await one.carry_out(found.steps, 60.0)
    return watcher


async def uninstall(api: Api, place: Place = HERE, *, purge: bool = False, users: bool = False) -> list[str]:
    time = Time()
    one = Uninstaller(api, place, time, Watcher(), time.sleep)
    return await one.carry_out(await one.prepare(purge=purge, delete_users=users))


async def obstacles(cluster: Cluster, place: Place = HERE, values: Values = DEFAULT) -> tuple[str, ...]:
    async with api_of(cluster) as api:
        found = await installer(api, place).prepare(values)
    assert cluster.writes == []
    return found.obstacles


def namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def root_secret() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "lateen.io/ca-root",
        "metadata": {"name": "lateen-ca-secret", "namespace": "lateen-system"},
    }


@pytest.fixture(autouse=True)
def small_crds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Schemas take most of the time."""
    small = tuple(
        {**crd, "spec": crd["spec"] | {"versions": [{"name": one["name"]} for one in crd["spec"]["versions"]]}}
        for crd in manifests.crds()
    )
    monkeypatch.setattr(manifests, "crds", lambda: small)


# --- into an empty cluster -----------------------------------------------------------------------------------------


async def test_from_nothing_to_ready_and_again() -> None:
    cluster = Cluster()
    async with api_of(cluster) as api:
        watcher = await install(api)
        assert {does for does, _ in watcher.done} == {Does.CREATE}
        assert watcher.ups == [
            Ref("Deployment", "lateen-system", "lateend"),
            Ref("Deployment", "lateen-system", "istio-ingressgateway"),
            Ref("MutatingWebhookConfiguration", "", "lateen-sidecar-injector"),
            Ref("ValidatingWebhookConfiguration", "", "lateen-validator"),
        ]
        assert len(cluster.of("Pod")) == 4  # an autoscaler would need its time for the second ones
        cluster.writes.clear()
        again = await install(api)
        assert {does for does, _ in again.done} == {Does.NOTHING}
        assert cluster.writes == []


async def test_a_lease_that_is_renewed_meanwhile_is_as_it_was_installed() -> None:
    """Who leads writes it every few seconds, also between our two looks."""
    cluster, path = Cluster(), "/apis/coordination.k8s.io/v1/namespaces/lateen-system/leases/lateen-leader"

    def renewed(_method: str, _path: str) -> None:
        lease = cluster.objects[path]
        cluster.objects[path] = {**lease, "spec": {"holderIdentity": "a", "renewTime": str(len(cluster.requests))}}

    async with api_of(cluster) as api:
        await install(api)
        cluster.before = renewed
        again = await install(api)
        assert {does for does, _ in again.done} == {Does.NOTHING}


async def test_the_control_plane_is_up_before_a_gateway_is_made() -> None:
    cluster, asked = Cluster(), 0

    def slow(name: str) -> dict[str, Any]:
        pod = ready_pod(name)
        if name.startswith("lateend") and asked < 3:
            pod["status"] = {"phase": "Pending", "conditions": []}
        return pod

    def before(method: str, path: str) -> None:
        nonlocal asked
        if method == "GET" and path.endswith("/deployments/lateend"):
            asked += 1
            cluster.settle()
        if method == "PATCH" and path.endswith("/deployments/istio-ingressgateway") and asked:
            assert asked > 1

    cluster.pod, cluster.before = slow, before
    async with api_of(cluster) as api:
        watcher = await install(api)
    assert watcher.waited[0].startswith("Deployment lateen-system/lateend: 0 of 2 Pods ready")
    deployments = [path for method, path in cluster.writes if method == "PATCH" and "/deployments/" in path]
    assert deployments[0].endswith("/lateend")


async def test_a_dry_run_writes_nothing() -> None:
    cluster = Cluster()
    async with api_of(cluster) as api:
        found = await installer(api).prepare(DEFAULT)
    assert len(found.changes) == len(found.steps)
    assert cluster.writes == []


async def test_an_installation_that_was_cut_off_anywhere_is_finished_by_the_next(size: Size) -> None:
    """At each write in turn the API server is lost for good; then the same command runs again."""
    whole = Cluster()
    async with api_of(whole) as api:
        await install(api)
    total = len(whole.writes)
    assert total > 25
    for last in range(0, total, size(3, 1)):
        cluster = Cluster()

        def before(method: str, path: str, cluster: Cluster = cluster, last: int = last) -> web.Response | None:
            del path
            return (
                status(503, "ServiceUnavailable", "away") if method == "PATCH" and len(cluster.writes) >= last else None
            )

        async with api_of(cluster) as api:
            one = installer(api)
            found = await one.prepare(DEFAULT) if last > 0 else None
            cluster.before = before
            if found is not None:
                with pytest.raises(FailedError, match="away"):
                    await one.carry_out(found.steps, 60.0)
            assert len(cluster.writes) == last
            cluster.before = lambda _method, _path: None
            await install(api)
        assert cluster.names() == whole.names(), last
        assert len(cluster.of("Pod")) >= 2, last


async def test_an_api_server_that_is_away_for_a_moment_is_tried_again() -> None:
    cluster, failed = Cluster(), set[str]()

    def before(method: str, path: str) -> web.Response | None:
        if method != "PATCH" or path in failed:
            return None
        failed.add(path)
        return status(500, "InternalError", "etcdserver: leader changed")

    async with api_of(cluster) as api:
        one = installer(api)
        found = await one.prepare(DEFAULT)
        cluster.before = before
        await one.carry_out(found.steps, 60.0)
    assert len(failed) > 25
    assert len(cluster.of("Pod")) == 4


async def test_what_somebody_set_is_not_taken_back_unasked() -> None:
    cluster = Cluster()
    async with api_of(cluster) as api:
        await install(api)
        path = "/apis/apps/v1/namespaces/lateen-system/deployments/lateend"
        deployment = cluster.objects[path]
        deployment["spec"]["strategy"]["type"] = "Recreate"
        cluster.applied[path]["kubectl-edit"] = {"spec": {"strategy": {"type": "Recreate"}}}
        del cluster.applied[path]["lateen"]["spec"]["strategy"]["type"]
        (words,) = (await installer(api).prepare(DEFAULT)).obstacles
        assert "Deployment lateen-system/lateend has fields that somebody else set: .spec.strategy.type" in words
        assert 'conflict with "kubectl-edit"' in words
        assert "--force" in words
        await install(api, force=True)
        assert cluster.objects[path]["spec"]["strategy"]["type"] == "RollingUpdate"


async def test_what_others_added_stays() -> None:
    """A webhook's caBundle, a label, replicas that an autoscaler chose."""
    cluster = Cluster()
    async with api_of(cluster) as api:
        await install(api)
        path = "/apis/apps/v1/namespaces/lateen-system/deployments/lateend"
        cluster.objects[path]["spec"]["replicas"] = 4
        cluster.objects[path]["metadata"]["labels"]["team"] = "mesh"
        cluster.settle()
        await install(api, read_values("default", [], ["controlPlane.resources.limits.memory=3Gi"]).values)
        assert cluster.objects[path]["spec"]["replicas"] == 4
        assert cluster.objects[path]["metadata"]["labels"]["team"] == "mesh"
        limits = cluster.objects[path]["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert limits == {"memory": "3Gi"}


# --- who else is there ---------------------------------------------------------------------------------------------


def istiod(where: str = "istio-system") -> dict[str, Any]:
    meta = {"name": "istiod", "namespace": where, "labels": {"app": "istiod"}}
    template = {"metadata": {"labels": {"app": "istiod"}}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": {"template": template}}


def injector(name: str, selector: dict[str, Any], resources: Sequence[str] = ("pods",)) -> dict[str, Any]:
    webhook = {"name": f"x.{name}", "namespaceSelector": selector, "rules": [{"resources": list(resources)}]}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [webhook],
    }


ENABLED = {"matchLabels": {"istio-injection": "enabled"}}


async def test_an_istiod_stops_it_with_the_choice_named() -> None:
    cluster = Cluster()
    cluster.put(istiod())
    (words,) = await obstacles(cluster)
    assert "an istiod runs here (istio-system/istiod)" in words
    assert "--revision NAME" in words
    assert await obstacles(cluster, CANARY) == ()
    async with api_of(cluster) as api:
        await install(api, place=CANARY)
    mesh = json.loads(cluster.objects["/api/v1/namespaces/lateen-system/configmaps/lateen-canary"]["data"]["mesh"])
    assert mesh["rootNamespaces"] == ["lateen-system"]


@pytest.mark.parametrize(
    ("webhook", "place", "found"),
    [
        (injector("foreign", ENABLED), HERE, "istio-injection=enabled"),
        (injector("foreign", ENABLED), CANARY, ""),
        (injector("foreign", {"matchExpressions": [{"key": "istio.io/rev", "operator": "In", "values": ["canary"]}]}), CANARY, "istio.io/rev=canary"),
        (injector("foreign", {"matchExpressions": [{"key": "istio.io/rev", "operator": "Exists"}]}), HERE, "istio.io/rev=default"),
        (injector("policies", {}), HERE, ""),
        (injector("policies", {"matchExpressions": [{"key": "istio-injection", "operator": "NotIn", "values": ["enabled"]}]}), HERE, ""),
        (injector("policies", {"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}), HERE, ""),
        (injector("quotas", ENABLED, ["deployments"]), HERE, ""),
    ],
)  # fmt: skip
async def test_a_webhook_that_our_labels_wake(webhook: dict[str, Any], place: Place, found: str) -> None:
    cluster = Cluster()
    cluster.put(webhook)
    words = await obstacles(cluster, place)
    assert len(words) == bool(found)
    if found:
        assert words[0].startswith(f"foreign (a webhook of somebody else) takes Pods labelled {found}")


async def test_a_cluster_that_is_too_old() -> None:
    cluster = Cluster()
    cluster.version = {"major": "1", "minor": "29+", "gitVersion": "v1.29.4-gke.1"}
    (words,) = await obstacles(cluster)
    assert "v1.29.4-gke.1; 1.30 is the oldest" in words


async def test_what_others_made_is_never_changed() -> None:
    cluster = Cluster()
    cluster.put(namespace("lateen-system"))
    cluster.put(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "lateend", "namespace": "lateen-system"}}
    )
    (words,) = await obstacles(cluster)
    assert words.startswith("ServiceAccount lateen-system/lateend is there, and is not ours")


async def test_crds_of_istio_are_used_as_they_are() -> None:
    cluster = Cluster()
    path = cluster.put(istios_crd())
    before = json.dumps(cluster.objects[path])
    async with api_of(cluster) as api:
        found = await installer(api).prepare(MINIMAL)
        assert any("1 of 9 CRDs were made by somebody else" in note for note in found.notes)
        await install(api, MINIMAL)
        assert json.dumps(cluster.objects[path]) == before
        await uninstall(api, purge=True, users=True)
        assert json.dumps(cluster.objects[path]) == before
    assert cluster.names() == {"CustomResourceDefinition virtualservices.networking.istio.io"}


def istios_crd() -> dict[str, Any]:
    names = {"kind": "VirtualService", "plural": "virtualservices"}
    spec = {"group": "networking.istio.io", "names": names, "versions": [{"name": "v1"}]}
    name = "virtualservices.networking.istio.io"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": spec,
    }


async def test_a_refusal_is_known_before_anything_is_written() -> None:
    cluster = Cluster()
    cluster.put(namespace("lateen-system"))

    def before(method: str, path: str) -> web.Response | None:
        if method == "PATCH" and path.endswith("/deployments/lateend"):
            return status(403, "Forbidden", 'admission webhook "policy" denied the request: no')
        return None

    cluster.before = before
    (words,) = await obstacles(cluster)
    assert "Deployment lateen-system/lateend: you may not do this" in words


async def test_what_is_just_being_deleted_is_waited_for() -> None:
    cluster = Cluster()
    async with api_of(cluster) as api:
        await install(api)
        cluster.objects["/api/v1/namespaces/lateen-system"]["metadata"]["deletionTimestamp"] = "now"
        found = await installer(api).prepare(DEFAULT)
    assert found.obstacles == ("Namespace lateen-system is just being deleted: wait until it is gone",)


# --- what does not come up -----------------------------------------------------------------------------------------


def failing(state: dict[str, Any], **more: Any):
    def pod(name: str) -> dict[str, Any]:
        container = {"name": "lateend", "image": "localhost/lateen:1", "ready": False, "state": state, **more}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "status": {"phase": "Pending", "containerStatuses": [container]}}  # fmt: skip

    return pod


async def lines(cluster: Cluster, patience: float = 60.0) -> tuple[str, list[str], float]:
    async with api_of(cluster) as api:
        time = Time()
        one = Installer(api, HERE, time, Watcher(), sleep=time.sleep)
        found = await one.prepare(MINIMAL)
        with pytest.raises(FailedError) as raised:
            await one.carry_out(found.steps, patience)
    return str(raised.value), list(raised.value.lines), time.passed


async def test_an_image_that_cannot_be_pulled() -> None:
    cluster = Cluster()
    cluster.pod = failing(
        {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "localhost/lateen:1"'}}
    )
    words, more, passed = await lines(cluster)
    assert words == "Deployment lateen-system/lateend does not come up: 0 of 2 Pods ready"
    assert "ImagePullBackOff" in more[0]
    assert "make image" in more[0]
    assert STUCK_FOR <= passed < 2 * STUCK_FOR  # and not the minute that was allowed


async def test_a_container_that_ends_shows_its_last_words() -> None:
    cluster = Cluster()
    ended = {"terminated": {"exitCode": 2, "reason": "Error"}}
    cluster.pod = failing({"waiting": {"reason": "CrashLoopBackOff"}}, lastState=ended)
    cluster.logs = {"lateend-0": "one\n" * 9 + "lateen: the key is gone\n"}
    _, more, _ = await lines(cluster)
    assert "lateend ends again and again: Error, exit code 2" in more[0]
    assert more[5] == "  | lateen: the key is gone"


async def test_a_pod_that_no_node_takes() -> None:
    cluster = Cluster()
    unscheduled = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient cpu.",
    }
    cluster.pod = lambda name: {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "status": {"phase": "Pending", "conditions": [unscheduled]}}  # fmt: skip
    _, more, _ = await lines(cluster)
    assert "0/1 nodes are available: 1 Insufficient cpu." in more[0]
    assert "--profile demo" in more[0]


async def test_a_volume_that_is_not_there_is_in_the_events() -> None:
    cluster = Cluster()
    cluster.put(namespace("lateen-system") | {"metadata": {"name": "lateen-system"}})
    for when, message in (
        ("2026-01-01T00:00:02Z", 'configmap "istio-ca-root-cert" not found'),
        ("2026-01-01T00:00:01Z", "older"),
    ):
        cluster.put(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "type": "Warning",
                "reason": "FailedMount",
                "message": message,
                "lastTimestamp": when,
                "involvedObject": {"kind": "Pod", "name": "lateend-0"},
                "metadata": {"name": when.replace(":", "").lower(), "namespace": "lateen-system"},
            }
        )
    cluster.pod = failing({"waiting": {"reason": "ContainerCreating"}})
    words, more, passed = await lines(cluster, 20.0)
    assert 'FailedMount: configmap "istio-ca-root-cert" not found' in more[0]
    assert passed >= 20  # all of it: it may come yet
    assert "lateend" in words


# --- upgrades ------------------------------------------------------------------------------------------------------


async def test_an_upgrade_keeps_what_was_asked_for_before() -> None:
    cluster = Cluster()
    async with api_of(cluster) as api:
        await install(api, read_values("demo", [], ["meshConfig.trustDomain=example.org"]).values)
        found = await installed(api, HERE)
        assert found is not None
        assert found.version == VERSION
        values = checked(found.values).values
        assert values == read_values("demo", [], ["meshConfig.trustDomain=example.org"]).values
        assert await installed(api, CANARY) is None


async def test_an_upgrade_shows_what_changes_and_removes_what_is_no_part_any_more() -> None:
    cluster = Cluster()
    async with api_of(cluster) as api:
        await install(api)
        smaller = checked(combined("minimal", [], ["controlPlane.autoscaling.enabled=false"])).values
        kept = await installer(api).prepare(smaller)
        assert not kept.of(Does.REMOVE)
        assert "8 objects of an earlier installation are not part of this one" in kept.notes[0]
        found = await installer(api).prepare(smaller, upgrade=True)
        gone = {str(step.ref) for step in found.of(Does.REMOVE)}
        assert "Deployment lateen-system/istio-ingressgateway" in gone
        assert "HorizontalPodAutoscaler lateen-system/lateend" in gone
        (change,) = (step for step in found.of(Does.CHANGE) if step.ref.kind == "ConfigMap")
        assert any("-  values" in line or "+  values" in line for line in difference(change))
        await install(api, smaller, upgrade=True)
    assert "Deployment istio-ingressgateway" not in cluster.names()


async def test_gateways_stay_with_their_revision_until_an_upgrade_moves_them() -> None:
    cluster = Cluster()
    path = "/apis/apps/v1/namespaces/lateen-system/deployments/istio-ingressgateway"
    async with api_of(cluster) as api:
        await install(api)
        before = json.dumps(cluster.objects[path])
        found = await installer(api, CANARY).prepare(DEFAULT)
        assert "the ingress gateway stays with revision default" in found.notes[0]
        await install(api, place=CANARY)
        assert json.dumps(cluster.objects[path]) == before
        await install(api, place=CANARY, upgrade=True)
        assert cluster.objects[path]["metadata"]["labels"]["lateen.dev/revision"] == "canary"
        await uninstall(api, HERE)
        assert path in cluster.objects
        names = cluster.names()
        assert "Deployment lateend" not in names
        assert {"Deployment lateend-canary", "ServiceAccount lateend", "Lease lateen-leader"} <= names


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("0.1.0", "0.1.0", ""),
        ("0.1.0", "0.2.3", ""),
        ("0.9.1", "1.0.0", ""),
        ("0.2.0", "0.1.9", "newer than this lateen"),
        ("0.1.0", "0.3.0", "upgrade to 0.2 first"),
        ("garbage", "0.1.0", ""),
    ],
)
def test_versions_follow_one_another(before: str, after: str, words: str) -> None:
    assert (words in skew(before, after)) if words else skew(before, after) == ""


# --- tags ----------------------------------------------------------------------------------------------------------


async def test_a_tag_is_entries_that_ask_as_the_revisions_own_do_and_can_be_moved() -> None:
    cluster = Cluster()
    async with api_of(cluster) as api:
        for place in (HERE, CANARY):
            await install(api, MINIMAL, place)
        before = copy.deepcopy(cluster.of("MutatingWebhookConfiguration"))
        for revision in ("default", "canary"):
            injectors = cluster.of("MutatingWebhookConfiguration")
            (one,) = (one for one in injectors if one["metadata"]["labels"]["lateen.dev/revision"] == revision)
            await api.patch(ref_of(one), tags.setting(one, "prod"))
            await api.patch(ref_of(one), tags.setting(one, "prod"))  # again: as it was
            assert tags.Tag("prod", revision, one["metadata"]["name"]) in tags.tags_of(injectors)
            asked = [
                entry["name"]
                for entry in one["webhooks"]
                if preflight.wakes({"webhooks": [entry]}, Place(revision="prod"))
            ]
            assert asked == ["e0.prod.tag.lateen.dev"]  # the other one looks at Pods' own labels
            assert len([entry for entry in one["webhooks"] if "prod" in entry["name"]]) == 2
        again = await install(api, MINIMAL)
        assert {does for does, _ in again.done} == {Does.NOTHING}  # an installation leaves tags alone
        for one in cluster.of("MutatingWebhookConfiguration"):
            await api.patch(ref_of(one), tags.removing(one, "prod"))
        assert cluster.of("MutatingWebhookConfiguration") == before
        assert tags.tags_of(before) == []


@pytest.mark.parametrize("name", ["default", "Prod", "a.b", "x" * 41, ""])
def test_what_can_be_no_tag(name: str) -> None:
    assert tags.wrong(name)
    assert not tags.wrong("prod")


# --- is it well? ---------------------------------------------------------------------------------------------------


async def test_verifying_names_what_is_not_as_it_should_be() -> None:
    cluster = Cluster()
    async with api_of(cluster) as api:
        await install(api)
        bundle = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio-ca-root-cert", "namespace": "lateen-system"}, "data": {"root-cert.pem": "-----BEGIN CERTIFICATE-----"}}  # fmt: skip
        cluster.put(bundle)

        async def checks() -> list[str]:
            found = await installer(api).prepare(DEFAULT, upgrade=True)
            return [f"{check.what} {check.words}" for check in bad(await verify(api, found, HERE))]

        assert await checks() == []
        path = "/apis/apps/v1/namespaces/lateen-system/deployments/lateend"
        cluster.objects[path]["spec"]["template"]["spec"]["serviceAccountName"] = "other"
        cluster.drop("/api/v1/namespaces/lateen-system/services/lateend-peers")
        cluster.drop("/api/v1/namespaces/lateen-system/configmaps/istio-ca-root-cert")
        cluster.pod = failing({})
        cluster.settle()
        assert await checks() == [
            "Service lateen-system/lateend-peers is missing",
            "Deployment lateen-system/istio-ingressgateway 0 of 2 Pods ready",
            "Deployment lateen-system/lateend is not as it was installed: somebody changed it",
            "Deployment lateen-system/lateend 0 of 2 Pods ready",
            "ConfigMap istio-ca-root-cert is missing: workloads cannot trust anybody",
        ]


# --- away with it --------------------------------------------------------------------------------------------------


async def test_a_purge_leaves_nothing() -> None:
    cluster = Cluster()
    async with api_of(cluster) as api:
        await install(api)
        await install(api, place=CANARY)
        cluster.put(root_secret())
        assert await uninstall(api, purge=True) == []
    assert cluster.objects == {}


async def test_without_purge_the_next_installation_is_the_same_mesh() -> None:
    cluster = Cluster()
    async with api_of(cluster) as api:
        await install(api)
        cluster.put(root_secret())
        await uninstall(api)
        kinds = {obj["kind"] for obj in cluster.objects.values()}
        assert kinds == {"Namespace", "CustomResourceDefinition", "Secret"}


async def test_objects_of_users_stay_and_keep_their_crd() -> None:
    cluster = Cluster()
    cluster.put(namespace("shop"))
    async with api_of(cluster) as api:
        await install(api)
        path = cluster.put(VIRTUAL_SERVICE)
        time = Time()
        one = Uninstaller(api, HERE, time, Watcher(), time.sleep)
        found = await one.prepare(purge=True, delete_users=False)
        (words,) = found.stays
        assert words.startswith("CustomResourceDefinition virtualservices.networking.istio.io: it holds")
        assert words.endswith("VirtualService shop/mine (--delete-my-objects takes them, too)")
        await one.carry_out(found)
        assert cluster.names() == {
            "Namespace shop",
            "VirtualService mine",
            "CustomResourceDefinition virtualservices.networking.istio.io",
        }
        await uninstall(api, purge=True, users=True)
        assert path not in cluster.objects
    assert cluster.names() == {"Namespace shop"}


async def test_an_object_that_comes_at_the_last_moment_keeps_its_crd() -> None:
    cluster = Cluster()
    cluster.put(namespace("shop"))
    async with api_of(cluster) as api:
        await install(api)
        time = Time()
        one = Uninstaller(api, HERE, time, Watcher(), time.sleep)
        found = await one.prepare(purge=True, delete_users=False)
        path = cluster.put(VIRTUAL_SERVICE)
        (stayed,) = await one.carry_out(found)
    assert "virtualservices" in stayed
    assert path in cluster.objects


async def test_a_namespace_with_something_of_somebody_else_stays() -> None:
    cluster = Cluster()
    async with api_of(cluster) as api:
        await install(api)
        cluster.put(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine", "namespace": "lateen-system"}}
        )
        cluster.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt", "namespace": "lateen-system"}})  # fmt: skip
        (words,) = await uninstall(api, purge=True)
    assert words == "Namespace lateen-system: it holds ConfigMap lateen-system/mine, which we did not make"
    assert cluster.names() == {"Namespace lateen-system", "ConfigMap mine", "ConfigMap kube-root-ca.crt"}


async def test_who_is_left_without_a_control_plane_is_named() -> None:
    cluster = Cluster()
    cluster.put(namespace("shop"))
    async with api_of(cluster) as api:
        await install(api)
        for name, revision, injected in (
            ("front", "default", True),
            ("back", "canary", True),
            ("plain", "default", False),
        ):
            annotations = {"sidecar.istio.io/status": "{}"} if injected else {}
            meta = {"name": name, "namespace": "shop", "labels": {"istio.io/rev": revision}, "annotations": annotations}
            cluster.put({"apiVersion": "v1", "kind": "Pod", "metadata": meta})
        time = Time()
        one = Uninstaller(api, HERE, time, Watcher(), time.sleep)
        (words,) = (await one.prepare(purge=False, delete_users=False)).notes
        assert words.startswith("1 Pods still have a proxy that this control plane serves (Pod shop/front)")
        (words,) = (await one.prepare(purge=True, delete_users=False)).notes
        assert words.startswith("2 Pods")
        await one.carry_out(await one.prepare(purge=True, delete_users=False))
    assert {"Pod front", "Pod back"} <= {f"Pod {pod['metadata']['name']}" for pod in cluster.of("Pod")}


async def test_a_namespace_that_a_person_made_stays() -> None:
    cluster = Cluster()
    cluster.put(namespace("lateen-system"))
    async with api_of(cluster) as api:
        await install(api)
        await uninstall(api, purge=True)
    assert cluster.names() == {"Namespace lateen-system"}


async def test_a_secret_of_our_name_that_is_not_ours_stays() -> None:
    cluster = Cluster()
    async with api_of(cluster) as api:
        await install(api)
        cluster.put(root_secret() | {"type": "Opaque"})
        await uninstall(api, purge=True)
    assert "Secret lateen-ca-secret" in cluster.names()


async def test_taking_away_what_was_cut_off_anywhere(size: Size) -> None:
    """After each deletion in turn the API server says no; then the same command runs again."""
    whole = Cluster()
    async with api_of(whole) as api:
        await install(api)
    for last in range(0, 50, size(3, 1)):
        cluster = copy.deepcopy(whole)
        cluster.writes.clear()

        def before(method: str, path: str, cluster: Cluster = cluster, last: int = last) -> web.Response | None:
            del path
            deleted = sum(one == "DELETE" for one, _ in cluster.writes)
            return status(500, "InternalError", "away") if method == "DELETE" and deleted >= last else None

        cluster.before = before
        async with api_of(cluster) as api:
            try:
                await uninstall(api, purge=True)
            except FailedError:
                cluster.before = lambda _method, _path: None
                await uninstall(api, purge=True)
                assert cluster.objects == {}, last
            else:
                assert cluster.objects == {}
                break
    else:
        pytest.fail("there are fewer objects than that")
    assert last > 25


async def test_nothing_is_there_to_take_away() -> None:
    cluster = Cluster()
    async with api_of(cluster) as api:
        assert await uninstall(api, purge=True) == []
    assert cluster.writes == []
