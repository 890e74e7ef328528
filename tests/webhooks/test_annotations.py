"""Nothing is silent: every annotation changes the Pod or is spoken of, and so is every field of ProxyConfig."""

import json
from typing import Any

import pytest

from controlplane.model.meshconfig import OF_INJECTION, OF_INJECTION_IN_PROXIES, decode_settings
from controlplane.model.problem import Level
from controlplane.webhooks.injection import shortyaml, values
from controlplane.webhooks.injection.annotations import READ, WITHOUT_EFFECT
from controlplane.webhooks.injection.decision import Namespace
from controlplane.webhooks.injection.proxyconfig import _FIELDS, _WITHOUT_EFFECT
from controlplane.webhooks.injection.render import Injected, Refused, inject
from controlplane.webhooks.injection.settings import _OF_MESH, InjectionSettings

_S, _T, _R = "sidecar.istio.io/", "traffic.sidecar.istio.io/", "readiness.status.sidecar.istio.io/"
# By annotation: a value that is not the default, and one that is none.
SAMPLES = {
    "inject.istio.io/templates": ("gateway", "grpc-agent"),
    "proxy.istio.io/config": ("concurrency: 1", "concurrency: [1"),
    "status.sidecar.istio.io/port": ("15555", "-1"),
    "prometheus.istio.io/merge-metrics": ("false", "no"),
    f"{_S}interceptionMode": ("NONE", "none"),
    f"{_S}nativeSidecar": ("false", "maybe"),
    f"{_S}rewriteAppHTTPProbers": ("false", ""),
    f"{_S}proxyImage": ("other:1", "-x"),
    f"{_S}proxyCPU": ("7m", "7 m"),
    f"{_S}proxyMemory": ("7Mi", "7MiB"),
    f"{_S}proxyCPULimit": ("7", "-7"),
    f"{_S}proxyMemoryLimit": ("7G", "G"),
    f"{_S}logLevel": ("trace", "TRACE"),
    f"{_S}componentLogLevel": ("upstream:trace", "upstream:all"),
    f"{_S}userVolume": ('{"a": {"emptyDir": {}}}', "[1]"),
    f"{_S}userVolumeMount": ('[{"name": "a", "mountPath": "/a"}]', "{"),
    f"{_R}initialDelaySeconds": ("3", "3s"),
    f"{_R}periodSeconds": ("3", "0"),
    f"{_R}failureThreshold": ("3", "1e3"),
    f"{_T}includeInboundPorts": ("80", "0"),
    f"{_T}excludeInboundPorts": ("80", "*"),
    f"{_T}includeOutboundPorts": ("80", "a"),
    f"{_T}excludeOutboundPorts": ("80", "80 443"),
    f"{_T}includeOutboundIPRanges": ("10.0.0.0/8", "10.0.0.0/99"),
    f"{_T}excludeOutboundIPRanges": ("fd00::/8", "everything"),
    f"{_T}excludeInterfaces": ("eth1", "a-name-of-17-chars"),
    f"{_T}kubevirtInterfaces": ("k6t", "/etc"),
    "istio.io/reroute-virtual-interfaces": ("k6t", "a b"),
}
FIELDS = {
    "concurrency": 1, "drainDuration": "3s", "terminationDrainDuration": "3s", "statusPort": 15555,
    "holdApplicationUntilProxyStarts": True, "interceptionMode": "NONE", "proxyMetadata": {"ISTIO_META_A": "b"},
}  # fmt: skip
DEFAULT = InjectionSettings()
ORDINARY = InjectionSettings(native_sidecars=False)  # hold means something only there


def outcome(annotations: dict[str, str], settings: InjectionSettings = DEFAULT):
    probe = {"livenessProbe": {"httpGet": {"port": 80}}}
    pod = {"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "cart", **probe}]}}
    return inject(settings, Namespace("shop"), pod)


def pod_of(annotations: dict[str, str], settings: InjectionSettings = DEFAULT) -> dict[str, Any]:
    """Without the annotation itself."""
    found = outcome(annotations, settings)
    assert isinstance(found, Injected), found
    notes = {name: text for name, text in found.pod["metadata"]["annotations"].items() if name not in annotations}
    return {**found.pod, "metadata": {**found.pod["metadata"], "annotations": notes}}


def test_there_is_a_sample_of_each():
    assert SAMPLES.keys() == READ.keys()
    assert FIELDS.keys() == _FIELDS.keys()


@pytest.mark.parametrize("name", SAMPLES)
def test_it_changes_the_pod_or_refuses_it(name):
    good, bad = SAMPLES[name]
    assert pod_of({name: good}) != pod_of({})
    refused = outcome({name: bad})
    assert isinstance(refused, Refused)
    (problem,) = refused.problems
    assert (problem.code, problem.origin.path) == ("InvalidAnnotation", f'metadata.annotations["{name}"]')
    assert problem.message.startswith(name)


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_what_has_no_effect_is_spoken_of_and_has_none(name):
    found = outcome({name: "x"})
    assert isinstance(found, Injected)
    assert [(one.code, one.level) for one in found.problems] == [("AnnotationWithoutEffect", Level.WARNING)]
    assert name in found.problems[0].message
    assert pod_of({name: "x"}) == pod_of({})


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_of_proxyconfig_changes_the_pod(field):
    said = json.dumps({field: FIELDS[field]})
    assert pod_of({"proxy.istio.io/config": said}, ORDINARY) != pod_of({}, ORDINARY)
    assert outcome({"proxy.istio.io/config": said}).problems == ()


@pytest.mark.parametrize("field", sorted(_WITHOUT_EFFECT))
def test_or_is_spoken_of(field):
    (problem,) = outcome({"proxy.istio.io/config": f"{field}: 1"}).problems
    assert problem.code == "AnnotationWithoutEffect"
    assert field in problem.message


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("sidecar.istio.io/proxycpu", "sidecar.istio.io/proxyCPU"),
        ("traffic.sidecar.istio.io/excludeOutboundPort", "traffic.sidecar.istio.io/excludeOutboundPorts"),
        ("proxy.istio.io/conf", "proxy.istio.io/config"),
        ("sidecar.istio.io/xyzzy", ""),
    ],
)
def test_a_slip_is_told_with_what_was_meant(name, hint):
    (problem,) = outcome({name: "1"}).problems
    assert problem.code == "UnknownAnnotation"
    assert problem.message.endswith(f"did you mean {hint}?" if hint else "is not known")


def test_settings_do_not_say_of_what_injection_reads_that_it_has_no_effect():
    assert decode_settings({"defaultConfig": dict.fromkeys(_FIELDS), "enablePrometheusMerge": True})[1] == ()
    assert _FIELDS.keys() == OF_INJECTION_IN_PROXIES
    assert _OF_MESH.keys() >= OF_INJECTION


def test_others_annotations_are_no_business_of_ours():
    assert (
        outcome({"example.com/sidecar.istio.io": "1", "istio.io/rev": "x", "sidecar.istio.io/status": "{}"}).problems
        == ()
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &x 1\nb: *x", "anchor"),
        ("[" * 40, "deeper"),
        ("a: [", "is no YAML"),
        ("x" * 70_000, "longer"),
        ("- 1", "no mapping"),
        ("just text", "no mapping"),
    ],
)
def test_yaml_of_a_stranger_is_bounded(text, reason):
    refused = outcome({"proxy.istio.io/config": text})
    assert isinstance(refused, Refused)
    assert reason in refused.problems[0].message


def test_yaml_means_what_json_means():
    assert shortyaml.read("a: 2024-01-01") == {"a": "2024-01-01"}
    assert shortyaml.read("") is None
    assert shortyaml.read('{"a": [1, true, null]}') == {"a": [1, True, None]}


def test_lists_are_taken_as_people_write_them():
    assert values.ports(" 443, 80,80,") == "80,443"
    assert values.ranges("10.1.2.3/8, 10.0.0.0/8,fd00::1/8") == "10.0.0.0/8,fd00::/8"
    assert values.ports("") == ""
    with pytest.raises(ValueError, match="at most 256"):
        values.ports(",".join(map(str, range(1, 300))))


def test_native_sidecars_cannot_be_wished_for():
    found = outcome({"sidecar.istio.io/nativeSidecar": "true"}, ORDINARY)
    assert isinstance(found, Injected)
    assert "initContainers" in found.pod["spec"]
    assert [one["name"] for one in found.pod["spec"]["containers"]] == ["cart", "istio-proxy"]
    assert "no native sidecars" in found.problems[0].message
