"""Routes that ask for claims: at a gateway that looks at tokens, at one that does not, and in the mesh."""

import pytest

from controlplane.model.problem import Level
from tests.tokens import jwks, key, token
from tests.world import Client, World, service

SIGNER = key()
GATEWAY = """
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-ingress}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
"""
ROUTES = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop, namespace: default}
spec: {host: shop, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: default}
spec:
  hosts: [shop.example.com, shop]
  gateways: [istio-ingress/edge, mesh]
  http:
  - match: [{headers: {'@request.auth.claims.groups': {exact: staff}}, uri: {prefix: /admin}}]
    directResponse: {status: 299}
  - match: [{headers: {x-tier: {exact: gold}}}]
    directResponse: {status: 298}
  - match: [{headers: {'@request.auth.claims[shop.example.com/beta]': {}}}]
    route: [{destination: {host: shop, subset: v2}}]
  - match: [{withoutHeaders: {'@request.auth.claims.groups': {prefix: s}}, uri: {exact: /others}}]
    directResponse: {status: 297}
  - route: [{destination: {host: shop, subset: v1}}]
"""
TOKENS = f"""
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: edge, namespace: istio-ingress}}
spec:
  selector: {{matchLabels: {{istio: ingressgateway}}}}
  jwtRules:
  - {{issuer: a, jwks: '{jwks(SIGNER)}', outputClaimToHeaders: [{{header: x-tier, claim: account.tier}}]}}
"""


def world(*manifests: str) -> World:
    return World().apply(service("shop") + GATEWAY + ROUTES + "".join(manifests))


@pytest.fixture(scope="module")
def gateway() -> Client:
    return world(TOKENS).gateway()


@pytest.mark.parametrize(
    ("path", "claims", "answer"),
    [
        ("/", None, "v1"),
        ("/", {}, "v1"),
        ("/", {"shop.example.com/beta": True}, "v2"),
        ("/admin", {"groups": "staff"}, 299),
        ("/admin", {"groups": ["guests", "staff"]}, 299),
        ("/admin", {"groups": ["guests"]}, "v1"),
        ("/admin", None, "v1"),
        ("/", {"account": {"tier": "gold"}}, 298),
        ("/", {"account.tier": "gold"}, "v1"),
        ("/others", None, 297),
        ("/others", {"groups": "guests"}, 297),
        ("/others", {"groups": "staff"}, "v1"),
    ],
)
def test_claims_choose_the_route(gateway: Client, path: str, claims: dict[str, object] | None, answer: object) -> None:
    said = None if claims is None else {"iss": "a", **claims}
    outcome = gateway.enter("shop.example.com", path=path, claims=said)
    assert (outcome.status or outcome.subset) == answer
    if said is not None:
        shown = {"authorization": f"Bearer {token(SIGNER, said)}"}
        assert gateway.enter("shop.example.com", path=path, headers=shown, at=0.0).status == outcome.status


def test_nobody_says_of_himself_what_only_his_token_may_say(gateway: Client) -> None:
    claimed = {"x-tier": "gold", "@request.auth.claims.groups": "staff"}
    assert gateway.enter("shop.example.com", path="/admin", headers=claimed).subset == "v1"


def test_a_bad_token_has_no_claims(gateway: Client) -> None:
    forged = token(key(name="other"), {"iss": "a", "groups": "staff"})
    assert gateway.enter("shop.example.com", path="/admin", headers={"authorization": f"Bearer {forged}"}).status == 401


def test_a_gateway_that_looks_at_no_token_finds_no_claims_and_that_is_said() -> None:
    made = world()
    gateway = made.gateway()
    assert gateway.enter("shop.example.com", path="/admin", claims={"groups": "staff"}).subset == "v1"
    found = made.problems("JwtClaimBasedRoutingWithoutRequestAuthN")
    assert [(one.level, one.origin.path) for one in found] == [(Level.ERROR, f"spec.http[{n}]") for n in (0, 2, 3)]
    made.apply(TOKENS)
    assert made.problems("JwtClaimBasedRoutingWithoutRequestAuthN") == []
    assert gateway.enter("shop.example.com", path="/admin", claims={"iss": "a", "groups": "staff"}).status == 299


def test_tokens_of_other_gateways_do_not_count() -> None:
    made = world(TOKENS.replace("{istio: ingressgateway}", "{istio: egressgateway}"))
    made.gateway()
    assert made.problems("JwtClaimBasedRoutingWithoutRequestAuthN") != []


def test_in_the_mesh_claims_are_never_found_and_that_is_said() -> None:
    made = world(TOKENS)
    sidecar = made.sidecar()
    assert sidecar.call("shop", path="/others").subset == "v1"
    assert [one.origin.path for one in made.problems("VirtualServiceIneffectiveMatch")] == [
        f"spec.http[{n}].match[0]" for n in (0, 2, 3)
    ]
