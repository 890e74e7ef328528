"""Values: later ones win, `--set` is read by the type it is for, and what is wrong is said with the name that was meant."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.install.profiles import PROFILES
from controlplane.install.reading import BadValuesError, checked, dump, merge, parse_set, read_values
from controlplane.install.values import PullPolicy, Values


def wrong(*sets: str, document: Mapping[str, Any] | None = None, profile: str = "default") -> tuple[str, ...]:
    documents: list[Mapping[str, Any]] = [document or {}]
    with pytest.raises(BadValuesError) as raised:
        read_values(profile, documents, sets)
    return raised.value.lines


def test_profile_then_files_then_sets() -> None:
    files: list[Mapping[str, Any]] = [
        {"controlPlane": {"replicas": 3}},
        {"controlPlane": {"resources": {"limits": {"cpu": "2"}}}},
    ]
    values = read_values("demo", files, ["controlPlane.resources.limits.cpu=3"]).values
    assert values.control_plane.replicas == 3
    assert values.control_plane.resources.limits == {"cpu": "3", "memory": "2Gi"}
    assert values.control_plane.resources.requests == {"cpu": "50m", "memory": "128Mi"}  # the profile's
    assert values.mesh_config == {"accessLogFile": "/dev/stdout"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image=1.10", "1.10"),
        ("image=", ""),
        ("image=a=b", "a=b"),
        ("controlPlane.resources.limits.cpu=2", "2"),
        ("meshConfig.connectTimeout=1h", "1h"),
        ("meshConfig.accessLogFile=yes", "yes"),
        ("controlPlane.replicas=4", 4),
        ("controlPlane.disruptionBudget=false", False),
        ("imagePullSecrets=[a, b]", ["a", "b"]),
        ("imagePullPolicy=Never", "Never"),
        ("injection.logLevel=debug", "debug"),
        ("injection.resources.limits.cpu=1", "1"),
        ("injection.nativeSidecars=false", False),
        ("injection.defaultConfig.concurrency=4", 4),
        ("meshConfig.defaultConfig.gatewayTopology.numTrustedProxies=2", 2),
    ],
)
def test_a_value_has_the_type_of_its_field(text: str, expected: object) -> None:
    document = parse_set(text)
    for key in text.partition("=")[0].split("."):
        document = document[key]
    assert document == expected
    read_values("default", [], [text])


def test_one_request_that_is_set_does_not_unset_the_others() -> None:
    resources = read_values("default", [], ["controlPlane.resources.requests.cpu=1"]).values.control_plane.resources
    assert resources.requests == {"cpu": "1", "memory": "256Mi"}
    assert resources.limits == {"memory": "2Gi"}


def test_a_dot_that_belongs_to_a_key() -> None:
    assert parse_set(r"controlPlane.nodeSelector.kubernetes\.io/os=linux") == {
        "controlPlane": {"nodeSelector": {"kubernetes.io/os": "linux"}}
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("controlplane.replicas=1", "did you mean controlPlane?"),
        ("controlPlane.replica=1", "there is no field 'replica' in controlPlane; did you mean replicas?"),
        ("bogus=1", "known here: controlPlane, image,"),
        ("image.tag=1", "image has no fields"),
        ("controlPlane.replicas=two", 'controlPlane.replicas: must be a whole number; found the string "two"'),
        ("controlPlane.replicas=0", "must be between 1 and 1000"),
        ("controlPlane.disruptionBudget=maybe", "must be true or false"),
        ("imagePullPolicy=Sometimes", "must be one of Always, IfNotPresent, Never"),
        ("ingressGateway.service.ports[0].port=1", "ports is set as a whole list"),
        ("ingressGateway.service.ports=[{port: 1}]", "ports[0].name: name is required"),
        ("imagePullSecrets={a", "the value is no YAML"),
        (
            "meshConfig.accessLogFle=x",
            'meshConfig.accessLogFle: there is no field "accessLogFle"; did you mean accessLogFile?',
        ),
        ("meshConfig.trustDomain=a_b", "meshConfig.trustDomain"),
        ("meshConfig=1", "meshConfig must be a mapping"),
        ("injection.logLvel=debug", "there is no field 'logLvel' in injection; did you mean logLevel?"),
        ("injection.readinessPeriodSeconds=often", "injection.readinessPeriodSeconds: must be a whole number"),
        ("nothing", "KEY=VALUE was expected"),
        ("=1", "KEY=VALUE was expected"),
        ("a..b=1", "a part of the key is empty"),
    ],
)
def test_what_is_wrong_with_a_set(text: str, words: str) -> None:
    (line,) = wrong(text)
    assert words in line


def test_everything_wrong_is_said_at_once() -> None:
    assert len(wrong("a=1", "b=2")) == 2
    document = {"controlPlane": {"replicas": -1, "bogus": 1}, "meshConfig": {"bogus": 1}}
    assert len(wrong(document=document)) == 3
    assert wrong(profile="big") == ("there is no profile 'big'; there are: default, minimal, demo",)


def test_what_has_no_effect_is_a_warning() -> None:
    (warning,) = read_values("default", [], ["meshConfig.enableTracing=true"]).warnings
    assert "meshConfig.enableTracing" in warning
    assert "no effect" in warning


@pytest.mark.parametrize("profile", PROFILES)
def test_a_dump_says_everything_and_reads_as_the_same(profile: str) -> None:
    values = read_values(profile).values
    document = dump(values)
    assert set(document) == set(Values.__struct_encode_fields__)
    assert checked(document).values == values
    assert values.image_pull_policy is PullPolicy.IF_NOT_PRESENT


documents = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
).filter(lambda value: isinstance(value, dict))


@given(documents, documents, documents)
def test_merging_is_layering(a: dict, b: dict, c: dict) -> None:
    assert merge(merge(a, b), c) == merge(a, merge(b, c)) or _replaces_mapping(a, b, c)
    assert merge(a, a) == a
    assert merge(a, {}) == a


def _replaces_mapping(a: dict, b: dict, c: dict) -> bool:
    """A mapping that a plain value hides and a mapping then replaces: what was hidden stays hidden."""
    for key in c.keys() & b.keys() & a.keys():
        if isinstance(a[key], dict) and isinstance(c[key], dict) and not isinstance(b[key], dict):
            return True
        if all(isinstance(each[key], dict) for each in (a, b, c)) and _replaces_mapping(a[key], b[key], c[key]):
            return True
    return False
