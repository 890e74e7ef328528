"""What each port of a workload takes, from all that PeerAuthentications say; servers and callers read it alike."""

import pytest

from controlplane.ir.guard import PeerMode
from controlplane.ir.service import Endpoint
from controlplane.mesh.peerauthentication import modes, peers, refuses, secured, unenforced
from controlplane.model.peerauthentication import PeerAuthentication
from controlplane.model.settings import Settings
from tests.mesh.manifests import SECURED, SETTINGS, peer_authentication

DISABLE, PERMISSIVE, STRICT = PeerMode.DISABLE, PeerMode.PERMISSIVE, PeerMode.STRICT
MESH = {"namespace": "istio-system"}
REVIEWS = "selector: {matchLabels: {app: reviews}}\n"


def of(mode: str, selector: str = "", name: str = "peers", **meta: object) -> PeerAuthentication:
    return peer_authentication(f"{selector}mtls: {{mode: {mode}}}", name, **meta)


def mode(*policies: PeerAuthentication, port: int = 8080, settings: Settings = SECURED, **labels: str) -> PeerMode:
    found, _ = modes(policies, "default", settings)
    return peers(found, labels)[0].at(port)


def told(*policies: PeerAuthentication, settings: Settings = SECURED, **labels: str) -> list[tuple[str, str]]:
    found, problems = modes(policies, "default", settings)
    return [(one.code, str(one.origin)) for one in (*problems, *peers(found, labels)[1])]


# Whose word counts


def test_both_are_taken_where_nobody_says_anything():
    assert mode() is PERMISSIVE


def test_the_closest_that_says_something_wins():
    mesh, namespace, workload = of("STRICT", **MESH), of("DISABLE"), of("PERMISSIVE", REVIEWS)
    assert mode(mesh) is STRICT
    assert mode(mesh, namespace) is DISABLE
    assert mode(mesh, namespace, workload, app="reviews") is PERMISSIVE
    assert mode(mesh, namespace, workload, app="ratings") is DISABLE


@pytest.mark.parametrize("unset", ["mtls: {mode: UNSET}", "mtls: {}", ""])
def test_who_says_nothing_inherits(unset):
    mesh = of("STRICT", **MESH)
    assert mode(mesh, peer_authentication(unset), peer_authentication(REVIEWS + unset), app="reviews") is STRICT


def test_a_port_is_closer_than_its_workload():
    ports = "portLevelMtls: {'8080': {mode: DISABLE}, '9090': {mode: UNSET}}"
    policy = peer_authentication(f"{REVIEWS}mtls: {{mode: STRICT}}\n{ports}")
    assert [mode(policy, port=port, app="reviews") for port in (8080, 9090, 7070)] == [DISABLE, STRICT, STRICT]


def test_a_port_may_be_all_that_is_said():
    policy = peer_authentication(f"{REVIEWS}portLevelMtls: {{'8080': {{mode: STRICT}}}}")
    assert [mode(policy, port=port, app="reviews") for port in (8080, 9090)] == [STRICT, PERMISSIVE]


@pytest.mark.parametrize(("port", "bound"), [(80, 10_080), (8080, 8080)])
def test_a_port_is_meant_wherever_it_is_bound(port, bound):
    policy = peer_authentication(f"{REVIEWS}portLevelMtls: {{'{port}': {{mode: STRICT}}}}")
    laptop = Settings(workload_certificates=True, privileged_port_offset=10_000)
    assert mode(policy, port=bound, settings=laptop, app="reviews") is STRICT


# Several that are equally close


@pytest.mark.parametrize(("selector", "where"), [("", {}), (REVIEWS, {}), ("", MESH)])
def test_the_oldest_wins_and_the_others_are_told(selector, where):
    old = of("STRICT", selector, "z", creationTimestamp="2026-01-01T00:00:00Z", **where)
    young = of("DISABLE", selector, "a", creationTimestamp="2026-02-01T00:00:00Z", **where)
    assert mode(old, young, app="reviews") is STRICT
    namespace = where.get("namespace", "default")
    assert told(old, young, app="reviews") == [("Conflicted", f"PeerAuthentication {namespace}/a spec")]


def test_what_selects_others_conflicts_with_nobody():
    assert told(of("STRICT", REVIEWS), of("DISABLE", "selector: {matchLabels: {app: ratings}}\n"), app="reviews") == []


def test_a_selector_of_the_root_namespace_does_not_reach_further():
    policy = of("STRICT", REVIEWS, **MESH)
    assert mode(policy, app="reviews") is PERMISSIVE
    assert told(policy, app="reviews") == [("NoEffect", "PeerAuthentication istio-system/peers spec.selector")]
    assert told(policy, app="ratings") == []


# What cannot be read


@pytest.mark.parametrize(
    "broken",
    [
        f"{REVIEWS}mtls: {{mode: STRCT}}",
        f"{REVIEWS}mtls: {{mode: DISABLE}}\nportLevelMtls: {{http: {{mode: DISABLE}}}}",
        f"{REVIEWS}mtls: {{mode: DISABLE}}\nportLevelMtls: {{'8080': {{mode: OFF}}}}",
        "mtls: {mode: DISABLE}\nportLevelMtls: {'8080': {mode: DISABLE}}",
    ],
)
def test_what_cannot_be_read_is_strict(broken):
    policy = peer_authentication(broken)
    assert mode(policy, app="reviews") is STRICT
    assert mode(policy, app="ratings") is (PERMISSIVE if "selector" in broken else STRICT)


MISREAD = pytest.mark.parametrize("selector", ["{matchLabel: {app: reviews}}", "{matchLabels: {app: 'a*'}}", "5"])


@MISREAD
@pytest.mark.parametrize("says", ["STRICT", "DISABLE", "PERMISSIVE", "UNSET", "STRCT"])
def test_a_selector_that_cannot_be_read_selects_all_of_its_namespace_and_is_strict(selector, says):
    policy = of(says, f"selector: {selector}\n")
    assert mode(policy, app="anything") is STRICT
    assert mode(policy, of("DISABLE", name="namespace"), app="anything") is STRICT


@MISREAD
def test_who_would_have_won_against_it_still_does(selector):
    """The older of two that are equally close: whatever it had selected, it would not have counted there."""
    misread = of("STRICT", f"selector: {selector}\n", "young")
    assert [mode(of("DISABLE", REVIEWS, "old"), misread, app=app) for app in ("reviews", "ratings")] == [
        DISABLE,
        STRICT,
    ]
    assert mode(misread, of("DISABLE", REVIEWS, "younger"), app="reviews") is STRICT


@MISREAD
@pytest.mark.parametrize(
    ("says", "then"), [("STRICT", STRICT), ("STRCT", STRICT), ("DISABLE", PERMISSIVE), ("PERMISSIVE", PERMISSIVE)]
)
def test_a_selector_of_a_root_namespace_that_cannot_be_read_may_have_been_the_meshs(selector, says, then):
    policy = of(says, f"selector: {selector}\n", **MESH)
    assert mode(policy, app="anything") is then
    assert told(policy, app="anything") == []
    assert mode(policy, of("PERMISSIVE"), app="anything") is PERMISSIVE, "a namespace's own word is closer"
    assert mode(of("PERMISSIVE", name="old", **MESH), policy) is PERMISSIVE, "the older is the mesh's"


# Without identities


def test_without_certificates_nothing_is_asked_and_that_is_said():
    policies = of("STRICT"), of("STRICT", REVIEWS, "b")
    assert mode(*policies, settings=SETTINGS, app="reviews") is DISABLE
    assert [(one.code, str(one.origin)) for one in map(unenforced, policies)] == [
        ("NotEnforced", "PeerAuthentication default/peers"),
        ("NotEnforced", "PeerAuthentication default/b"),
    ]


# As callers see it


def endpoint(port: int, **labels: str) -> Endpoint:
    return Endpoint("10.1.0.1", port, labels, mutual_tls=True)


def as_called(*endpoints: Endpoint, policy: PeerAuthentication) -> list[bool]:
    found, _ = modes([policy], "default", SECURED)
    return [one.mutual_tls for one in secured(endpoints, lambda labels: peers(found, labels)[0])]


@pytest.mark.parametrize("strictness", ["STRICT", "PERMISSIVE", "UNSET", "DISABEL"])
def test_what_a_server_insists_on_changes_nothing_for_callers(strictness):
    assert not refuses(of(strictness))
    assert not refuses(of(strictness, REVIEWS, **MESH))


def test_callers_speak_plain_text_to_what_refuses_mutual_tls():
    port = peer_authentication(f"{REVIEWS}portLevelMtls: {{'8080': {{mode: DISABLE}}}}")
    assert refuses(port)
    endpoints = (endpoint(8080, app="reviews"), endpoint(9090, app="reviews"), endpoint(8080, app="ratings"))
    assert as_called(*endpoints, policy=port) == [False, True, True]


def test_nobody_learns_mutual_tls_from_a_policy():
    assert as_called(Endpoint("10.1.0.1", 8080, {}), policy=of("DISABLE")) == [False]
