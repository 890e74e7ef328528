"""For all Pods: a second time changes nothing, nothing of the first is lost, and Kubernetes knows what comes of it."""

import json
from copy import deepcopy
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from controlplane.webhooks.injection.decision import Namespace
from controlplane.webhooks.injection.pod import Workload
from controlplane.webhooks.injection.render import Injected, Left, Outcome, Refused, inject
from controlplane.webhooks.injection.settings import InjectionSettings
from controlplane.webhooks.jsonpatch import diff
from tests.conftest import Proved, Size
from tests.golden.files import cases
from tests.webhooks.golden import Case
from tests.webhooks.patching import applied
from tests.webhooks.pods import PODS, faults

SETTINGS = InjectionSettings(image="registry.example/lateen:1", image_pull_secrets=("ours", "mine"))
SHOP = Namespace("shop")
_PROMETHEUS = ("scrape", "path", "port")


def injected(pod: dict[str, Any], settings: InjectionSettings = SETTINGS) -> dict[str, Any]:
    outcome = inject(settings, SHOP, pod)
    assert isinstance(outcome, Injected), outcome
    return dict(outcome.pod)


def undone(pod: dict[str, Any]) -> dict[str, Any]:
    """The Pod as it must have been, from what injection says it did: its note, and what it told the agent."""
    pod = deepcopy(pod)
    spec, notes = pod["spec"], pod["metadata"]["annotations"]
    added = json.loads(notes["sidecar.istio.io/status"])
    everything = [*(spec.get("initContainers") or []), *spec["containers"]]
    proxy = next(one for one in everything if one["name"] == "istio-proxy")
    told = {one["name"]: one.get("value", "") for one in proxy["env"]}
    for field in ("initContainers", "containers", "volumes"):
        spec[field] = [one for one in spec.get(field) or [] if one["name"] not in (added[field] or [])]
    for container in spec["containers"]:
        if container.get("lifecycle", {}).get("preStop") == {"sleep": {"seconds": SETTINGS.linger_seconds}}:
            del container["lifecycle"]["preStop"]
    for container in [*spec["initContainers"], *spec["containers"]]:
        _ask_again(container, json.loads(told.get("ISTIO_KUBE_APP_PROBERS", "{}")))
    if notes.get("prometheus.io/path") == "/stats/prometheus":
        said = json.loads(told.get("ISTIO_PROMETHEUS_ANNOTATIONS", "{}"))
        for name in _PROMETHEUS:
            notes.pop(f"prometheus.io/{name}")
            notes |= {f"prometheus.io/{name}": said[name]} if name in said else {}
    return pod


def _ask_again(container: dict[str, Any], probers: dict[str, Any]) -> None:
    for path, prober in probers.items():
        _, _, name, kind = path.split("/")
        keys = {"livez": ("livenessProbe",), "readyz": ("readinessProbe",), "startupz": ("startupProbe",),
                "prestopz": ("lifecycle", "preStop"), "poststartz": ("lifecycle", "postStart")}[kind]  # fmt: skip
        if name == container["name"]:
            probe = container
            for key in keys:
                probe = probe[key]
            asked = probe.pop("httpGet")
            assert asked["path"] == path
            probe |= {key: value for key, value in prober.items() if key != "timeoutSeconds"}
            if "httpGet" in probe and "httpHeaders" in asked:
                probe["httpGet"]["httpHeaders"] = asked["httpHeaders"]


def normal(pod: dict[str, Any]) -> dict[str, Any]:
    """With what is the same written in the same way: ports as numbers, defaults said, nothing for null."""
    pod = json.loads(json.dumps(pod))
    for field in ("initContainers", "containers", "volumes"):
        pod["spec"][field] = pod["spec"].get(field) or []
    for container in [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]:
        hooks = container.setdefault("lifecycle", {})
        probes = [container.get(f"{kind}Probe") or {} for kind in ("liveness", "readiness", "startup")]
        for probe in [*probes, *hooks.values()]:
            _normal_action(probe)
    return pod


def _normal_action(probe: dict[str, Any]) -> None:
    for kind in ("httpGet", "tcpSocket"):
        if kind in probe:
            port = probe[kind]["port"]
            probe[kind]["port"] = {"web": 8081}.get(port) or int(port)
    if "httpGet" in probe:
        probe["httpGet"] = {"path": "/", "scheme": "HTTP", **probe["httpGet"]}


def lost(before: Any, after: Any, path: str = "") -> list[str]:
    """What is not there any more."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [fault for key, one in before.items() for fault in lost(one, after.get(key), f"{path}.{key}")]
    if before is None or before == after:
        return []
    if isinstance(before, list) and isinstance(after, list) and path.endswith("imagePullSecrets"):
        return [f"{path}: {one}" for one in before if one not in after]
    return [f"{path}: {before!r} became {after!r}"]


@pytest.mark.point
def test_for_all_pods(size: Size, proved: Proved) -> None:
    count, wanted = 0, size(300, 20_000)
    wrong: list[Any] = []

    @settings(max_examples=wanted)
    @given(PODS)
    def holds(pod: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        before = deepcopy(pod)
        after = injected(pod)
        assert pod == before, "the function is pure"
        assert isinstance(inject(SETTINGS, SHOP, after), Left), "a second time changes nothing"
        assert applied(pod, msgspec.to_builtins(diff(pod, after))) == after, "the patch makes it"
        assert lost(normal(pod), normal(undone(after))) == []
        assert faults(after) == []

    try:
        holds()
    except AssertionError as error:
        wrong.append(error)
        raise
    finally:
        proved(
            "kubernetes 2", "Pods that injection changes twice, takes something from, or makes something else of",
            bound="0", figure=str(len(wrong)), holds=not wrong, cases=count, asked=min(wanted, 300),
        )  # fmt: skip


@pytest.mark.parametrize("case", cases("injection"), ids=lambda case: case.name)
def test_golden_pods_are_of_kubernetes_types(case: Any) -> None:
    said = Case(case)
    assert faults(said.pod) == []
    outcome = said.outcome()
    if isinstance(outcome, Injected):
        assert faults(outcome.pod) == []


def test_what_is_no_pod_is_refused_with_the_field() -> None:
    for pod, field in (
        ({}, "spec"),
        ({"spec": {}}, "containers"),
        ({"spec": {"containers": [{}]}}, "$.spec.containers[0]"),
        ({"spec": {"containers": []}, "metadata": {"labels": {"a": 1}}}, "$.metadata.labels"),
        ({"spec": {"containers": [{"name": "a", "livenessProbe": {"httpGet": {}}}]}}, "port"),
        ([], "object"),
    ):
        outcome: Outcome = inject(SETTINGS, SHOP, pod)  # type: ignore[arg-type]
        assert isinstance(outcome, Refused)
        assert field in outcome.problems[0].message


def test_an_installer_decides_for_itself() -> None:
    """Its gateway stands in the namespace where nothing is injected."""
    pod = {
        "metadata": {"annotations": {"inject.istio.io/templates": "gateway"}},
        "spec": {"containers": [{"name": "istio-proxy", "image": "auto"}]},
    }
    ours = Namespace("lateen-system")
    workload = Workload("istio-ingressgateway", "Deployment", "apps/v1")
    assert isinstance(inject(SETTINGS, ours, pod, workload), Left)
    outcome = inject(SETTINGS, ours, pod, workload, asked=True)
    assert isinstance(outcome, Injected)
    assert outcome.pod["spec"]["containers"][0]["args"][0] == "router"
    assert isinstance(inject(SETTINGS, ours, outcome.pod, workload, asked=True), Left)


def test_a_label_that_would_be_none_is_left_out() -> None:
    long = {"metadata": {"name": "x" * 70}, "spec": {"containers": [{"name": "a"}]}}
    assert "service.istio.io/canonical-name" not in injected(long)["metadata"]["labels"]
