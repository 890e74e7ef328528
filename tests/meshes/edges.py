"""Gateways with their certificates, and Sidecars: what proxies open."""

from base64 import b64encode

from tests.envoys.certificates import Pair, leaf, root_certificate
from tests.meshes.making import Making
from tests.meshes.policies import pool
from tests.meshes.words import INGRESS, PUBLIC, ROOT, TIERS, Json, maybe, one_of, some

_PLAIN, _SECURE = (80, 8080), (443, 8443)
_HTTP = ("HTTP", "HTTP2", "GRPC")


# Gateways


def add_gateways(making: Making, most: int) -> None:
    add_secrets(making)
    for _ in range(making.rng.randint(1, most)):
        add_gateway(making)


def add_secrets(making: Making) -> None:
    _secret(making, "site", "shop.example.com", "www.example.com")
    _secret(making, "other", "blog.example.net")
    _secret(making, "clients", "www.example.com")
    authorities = root_certificate() if making.ground.certificates else _pem("CERTIFICATE")
    making.add("Secret", INGRESS, "clients-cacert", type="Opaque", data={"ca.crt": _base64(authorities)})


def _secret(making: Making, name: str, *hosts: str) -> None:
    pair = leaf(*hosts) if making.ground.certificates else Pair(_pem("CERTIFICATE"), _pem("PRIVATE KEY"))
    data = {"tls.crt": _base64(pair.certificate), "tls.key": _base64(pair.key)}
    making.add("Secret", INGRESS, name, type="kubernetes.io/tls", data=data)


def _pem(what: str) -> str:
    return f"-----BEGIN {what}-----\nAA==\n-----END {what}-----\n"


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()


def add_gateway(making: Making) -> None:
    rng = making.rng
    namespace = one_of(rng, {INGRESS: 5.0, making.namespace(): 3.0, ROOT: 1.0})
    servers = [_server(making, f"p{index}") for index in range(rng.randint(1, 4))]
    spec = {"selector": {"istio": "ingressgateway"}, "servers": servers}
    made = making.add("Gateway", namespace, f"gw-{making.number()}", spec=spec)
    making.gateways.append(made)


def _server(making: Making, name: str) -> Json:
    rng = making.rng
    kind = one_of(rng, {"http": 5.0, "redirect": 1.0, "https": 3.0, "passthrough": 1.5, "tcp": 1.0})
    hosts = [f"{rng.choice(('./', '*/', ''))}{host}" for host in some(rng, PUBLIC, 2)]
    if kind in {"http", "redirect"}:
        port = {"number": rng.choice(_PLAIN), "name": name, "protocol": rng.choice(_HTTP)}
        return {"port": port, "hosts": hosts, **({"tls": {"httpsRedirect": True}} if kind == "redirect" else {})}
    if kind == "tcp":
        return {"port": {"number": rng.choice((7000, 9000)), "name": name, "protocol": "TCP"}, "hosts": ["*"]}
    port = {"number": rng.choice(_SECURE), "name": name, "protocol": "HTTPS" if kind == "https" else "TLS"}
    return {"port": port, "hosts": hosts, "tls": _terminating(making) if kind == "https" else {"mode": "PASSTHROUGH"}}


def _terminating(making: Making) -> Json:
    rng = making.rng
    simple = {"mode": "SIMPLE", "credentialName": rng.choice(("site", "site", "other", "missing"))}
    mutual = {"mode": rng.choice(("MUTUAL", "OPTIONAL_MUTUAL")), "credentialName": "clients"}
    several = {"mode": "SIMPLE", "credentialNames": ["site", "other"]}
    files = {
        "mode": "SIMPLE",
        "serverCertificate": f"{making.ground.files}/tls.crt",
        "privateKey": f"{making.ground.files}/tls.key",
    }
    chosen = rng.choice((simple, simple, simple, mutual, *(() if making.ground.real else (several, files))))
    return {
        **chosen,
        **maybe(rng, 0.2, minProtocolVersion=rng.choice(("TLSV1_2", "TLSV1_3"))),
        **maybe(rng, 0.1, cipherSuites=["ECDHE-ECDSA-AES128-GCM-SHA256"]),
        **maybe(rng, 0.1, ecdhCurves=["X25519", "P-256"]),
    }


# Sidecars


def add_sidecars(making: Making) -> None:
    for namespace in making.namespaces:
        if making.rng.random() < 0.35:
            add_sidecar(making, namespace)


def add_sidecar(making: Making, namespace: str) -> None:
    """Narrows what captured workloads see; for all of a namespace, or some workloads."""
    rng = making.rng
    selector = maybe(rng, 0.3, workloadSelector={"labels": {"tier": rng.choice(TIERS)}})
    extra = [_captured_listener(making)] if rng.random() < 0.3 else []
    egress = [*extra, {"hosts": _admitted(making)}]
    policy = maybe(rng, 0.4, outboundTrafficPolicy={"mode": rng.choice(("REGISTRY_ONLY", "ALLOW_ANY"))})
    spec = {
        **selector,
        "egress": egress,
        **policy,
        **maybe(rng, 0.3, ingress=[_ingress(making)]),
        **maybe(rng, 0.1, inboundConnectionPool=pool(rng)),
    }
    making.add("Sidecar", namespace, f"sc-{making.number()}", spec=spec)


def _admitted(making: Making) -> list[str]:
    rng = making.rng
    named = [f"{host.namespace}/{host.name}" for host in making.hosts]
    choices = ["./*", "*/*", "*/*", "~/*", f"{making.namespace()}/*", "*/*.example.com", *named]
    return [*some(rng, choices, 4), *(["~*/api.example.com"] if rng.random() < 0.1 else [])]


def _captured_listener(making: Making) -> Json:
    rng = making.rng
    number, protocol = rng.choice(((80, "HTTP"), (9000, "TCP"), (8080, "HTTP"), (443, "TLS")))
    return {"port": {"number": number, "protocol": protocol, "name": "special"}, "hosts": _admitted(making)}


def _ingress(making: Making) -> Json:
    rng = making.rng
    protocol = rng.choice(("HTTP", "TCP", "GRPC", "HTTP2"))
    return {
        "port": {"number": rng.choice((8001, 9001)), "protocol": protocol, "name": "in"},
        "defaultEndpoint": f"127.0.0.1:{making.ground.ports[1]}",
        **maybe(rng, 0.2, connectionPool=pool(rng)),
    }


def add_explicit_sidecar(making: Making, namespace: str, label: str, address: str) -> None:
    """For one workload without traffic capture: all its listeners have sockets of their own, on its address."""
    rng = making.rng
    listeners = [
        {
            "port": {"number": 20_000 + index, "protocol": protocol, "name": f"e{index}"},
            "bind": address,
            "captureMode": "NONE",
            "hosts": ["*/*"] if rng.random() < 0.4 else _admitted(making),
        }
        for index, protocol in enumerate(
            some(rng, ("HTTP", "HTTP", "HTTP2", "GRPC", "TCP", "TLS", "HTTPS", "MONGO"), 4)
        )
    ]
    own = {"number": rng.choice((8080, 9000)), "protocol": rng.choice(("HTTP", "TCP")), "name": "own"}
    listeners.append({"port": own, "bind": address, "captureMode": "NONE", "hosts": ["*/*"]})  # a port services have
    ingress = {
        "port": {"number": 21_000, "protocol": rng.choice(("HTTP", "TCP", "GRPC")), "name": "in"},
        "bind": address,
        "captureMode": "NONE",
        "defaultEndpoint": f"127.0.0.1:{making.ground.ports[0]}",
    }
    policy = {"mode": rng.choice(("REGISTRY_ONLY", "ALLOW_ANY"))}
    spec = {
        "workloadSelector": {"labels": {"alone": label}},
        "egress": [*listeners, *([{"hosts": _admitted(making)}] if rng.random() < 0.7 else [])],
        "ingress": [ingress],
        **maybe(rng, 0.6, outboundTrafficPolicy=policy),
    }
    making.add("Sidecar", namespace, f"alone-{label}", spec=spec)
