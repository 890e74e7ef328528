"""Who gets a proxy: Istio's rules, and what no rule can ask for."""

import pytest

from controlplane.webhooks.injection.decision import Namespace, skipped
from controlplane.webhooks.injection.pod import read_pod
from controlplane.webhooks.injection.settings import InjectionSettings, Requirement, Selector

ENABLED = {"istio-injection": "enabled"}
INJECT = "sidecar.istio.io/inject"


def why(settings=None, namespace="shop", labels=None, annotations=None, of_namespace=None, **spec):
    pod = {
        "metadata": {"name": "cart", "labels": labels, "annotations": annotations},
        "spec": {"containers": [{"name": "cart"}], **spec},
    }
    found = skipped(settings or InjectionSettings(), Namespace(namespace, of_namespace), read_pod(pod))
    return found.why if found is not None else ""


@pytest.mark.parametrize(
    ("of_namespace", "labels", "annotations", "expected"),
    [
        (None, {}, {}, ""),  # whoever asks has looked at the namespace
        (ENABLED, {}, {}, ""),
        ({"istio-injection": "disabled"}, {INJECT: "true"}, {}, "namespace-opted-out"),
        ({}, {}, {}, "namespace-not-labelled"),
        ({}, {INJECT: "true"}, {}, ""),
        ({}, {}, {INJECT: "true"}, "namespace-not-labelled"),  # Istio's selectors do not see annotations
        ({}, {"istio.io/rev": "default"}, {}, ""),
        ({}, {"istio.io/rev": "canary"}, {}, "other-revision"),
        ({"istio.io/rev": "default"}, {}, {}, ""),
        ({"istio.io/rev": "canary"}, {}, {}, "other-revision"),
        ({"istio.io/rev": "canary", **ENABLED}, {}, {}, ""),  # the first label wins
        ({"istio.io/rev": "default"}, {"istio.io/rev": "canary"}, {}, ""),  # the namespace wins
        (ENABLED, {INJECT: "false"}, {}, "pod-opted-out"),
        (ENABLED, {}, {INJECT: "false"}, "pod-opted-out"),
        (ENABLED, {INJECT: "true"}, {INJECT: "false"}, ""),  # the label wins
        (ENABLED, {INJECT: "false"}, {INJECT: "true"}, "pod-opted-out"),
        (ENABLED, {INJECT: "YES"}, {}, ""),
        (ENABLED, {INJECT: "flase"}, {}, "pod-opted-out"),
    ],
)
def test_namespace_and_pod(of_namespace, labels, annotations, expected):
    assert why(of_namespace=of_namespace, labels=labels, annotations=annotations) == expected


def test_a_revision_has_its_name_and_its_tags():
    canary = InjectionSettings(revision="canary", tags=("stable",))
    assert why(canary, of_namespace=ENABLED) == "other-revision"
    assert why(canary, of_namespace={"istio.io/rev": "canary"}) == ""
    assert why(canary, of_namespace={"istio.io/rev": "stable"}) == ""
    taken_over = InjectionSettings(revision="canary", tags=("default",))
    assert why(taken_over, of_namespace=ENABLED) == ""


@pytest.mark.parametrize("namespace", ["kube-system", "kube-public", "kube-node-lease", "lateen-system", "vault"])
def test_some_namespaces_never(namespace):
    settings = InjectionSettings(never_in=("vault",))
    assert why(settings, namespace, {INJECT: "true"}, of_namespace=ENABLED) == "system-namespace"


def test_what_cannot_be():
    assert why(hostNetwork=True, labels={INJECT: "true"}) == "host-network"
    assert why(os={"name": "windows"}) == "windows"
    there = [{"name": "cart"}, {"name": "istio-proxy"}]
    assert why(annotations={"sidecar.istio.io/status": "{}"}, containers=there) == "injected"
    assert why(annotations={"sidecar.istio.io/status": "{}"}) == ""  # copied from a Pod, and the proxy left behind


def test_never_inject_selector_counts_unless_the_pod_says_otherwise():
    expressions = (
        Requirement(key="job", operator="Exists"),
        Requirement(key="tier", operator="NotIn", values=("web",)),
    )
    settings = InjectionSettings(
        never_inject_selector=(Selector(), Selector(match_expressions=expressions), Selector(match_labels={"a": "b"}))
    )
    assert why(settings, labels={"job": "x"}) == "never-selector"
    assert why(settings, labels={"job": "x", "tier": "web"}) == ""
    assert why(settings, labels={"a": "b"}) == "never-selector"
    assert why(settings, labels={"a": "b", INJECT: "true"}) == ""
    assert why(settings, labels={}) == ""
