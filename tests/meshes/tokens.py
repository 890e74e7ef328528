"""RequestAuthentications: whose tokens workloads and gateways believe."""

from random import Random  # noqa: TID251 — takes its seed as an argument

from tests.meshes.making import Making
from tests.meshes.words import HOME, INGRESS, ROOT, TIERS, Json, maybe, one_of, some

ISSUERS = ("https://issuer.example.com", "issuer", "elsewhere")
_HEADERS = ({"name": "Authorization", "prefix": "Bearer "}, {"name": "x-token"}, {"name": "x-token", "prefix": "T "})
# Nobody shows tokens here; these are points of curves, so that Envoy takes them.
_KEYS = (
    '{"keys": [{"kty": "EC", "crv": "P-256", "kid": "1", "x": "YYPgVHKSyBrxKDW-1ZVxHAK2vx8kPc2nlTgQc5p1fs8", '
    '"y": "d31ZUE6RBtfymU9J24OrGmEthTZ9s-gyyaY_2lqwho4"}]}'
)


def add_tokens(making: Making) -> None:
    for _ in range(making.rng.choice((0, 0, 1, 2))):
        add_request_authentication(making)


def add_request_authentication(making: Making) -> None:
    rng = making.rng
    namespace = one_of(rng, {HOME: 4.0, INGRESS: 3.0, ROOT: 1.0, making.namespace(): 2.0})
    labels = {INGRESS: {"istio": "ingressgateway"}}.get(namespace, {"tier": rng.choice(TIERS)})
    spec = {
        **maybe(rng, 0.4, selector={"matchLabels": labels}),
        "jwtRules": [_rule(making) for _ in range(rng.randint(1, 3))],
    }
    making.add("RequestAuthentication", namespace, f"ra-{making.number()}", spec=spec)


def _rule(making: Making) -> Json:
    rng = making.rng
    return {
        "issuer": rng.choice(ISSUERS),
        **_keys(making),
        **maybe(rng, 0.3, audiences=some(rng, ("shop", "bank"), 2)),
        **maybe(rng, 0.4, fromHeaders=rng.sample(_HEADERS, rng.randint(1, 2))),
        **maybe(rng, 0.2, fromParams=["token"], forwardOriginalToken=True),
        **maybe(rng, 0.2, fromCookies=["session"], forwardOriginalToken=True),
        **maybe(rng, 0.2, outputPayloadToHeader="x-payload"),
        **maybe(rng, 0.3, outputClaimToHeaders=[{"header": "x-user", "claim": rng.choice(("sub", "user.name"))}]),
        **maybe(rng, 0.2, spaceDelimitedClaims=["groups"]),
        **maybe(rng, 0.03, presence="REQUIRED"),
    }


def _keys(making: Making) -> Json:
    """In place, of a host of the mesh, of any other."""
    rng = making.rng
    if rng.random() < 0.5:
        return {"jwks": _KEYS}
    return {"jwksUri": _uri(rng, making), **maybe(rng, 0.3, timeout="2s")}


def _uri(rng: Random, making: Making) -> str:
    if rng.random() < 0.4:
        return rng.choice(("https://issuer.example.invalid/keys", "http://issuer.example.invalid:8080/keys"))
    host, port = rng.choice([(host.name, port.number) for host in making.hosts for port in host.ports])
    return f"{rng.choice(('http', 'https'))}://{host.replace('*', 'any')}:{port}/keys"
