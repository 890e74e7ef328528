"""Objects that an API server refuses by the CRDs alone, and what it says of them."""

from typing import Any, Final

_SECURITY: Final = frozenset({"PeerAuthentication", "AuthorizationPolicy"})


def document_of(kind: str, spec: dict[str, Any], namespace: str = "default") -> dict[str, Any]:
    group = "security.istio.io" if kind in _SECURITY else "networking.istio.io"
    return {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": "a", "namespace": namespace}, "spec": spec}


ROUTE = {"route": [{"destination": {"host": "a.com"}}]}
ENTRY = {"hosts": ["a.com"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}]}
MACHINE = {"address": "10.0.0.1"}
SELECTOR = {"labels": {"a": "b"}}
TLS_PORT = {"number": 443, "name": "a", "protocol": "TLS"}

# (kind, spec, what is said of it): every CEL rule at least once.
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("VirtualService", {"hosts": ["a.com"]}, "one of http, tls, tcp is required"),
    ("VirtualService", {"hosts": ["a.com"], "http": [], "tcp": []}, "one of http, tls, tcp is required"),
    ("VirtualService", {"gateways": ["gw"], "http": [ROUTE]}, "only a delegate has none"),
    ("VirtualService", {"hosts": [], "tcp": [ROUTE]}, "delegates have http only"),
    ("ServiceEntry", {"hosts": ["a.com", "*"]}, "every host there is"),
    (
        "ServiceEntry",
        {**ENTRY, "resolution": "STATIC", "endpoints": [MACHINE], "workloadSelector": SELECTOR},
        "exclude",
    ),
    ("ServiceEntry", {**ENTRY, "resolution": "DNS", "addresses": ["10.0.0.0/8"]}, "CIDR"),
    ("ServiceEntry", {**ENTRY, "endpoints": [MACHINE]}, "take no endpoints"),
    (
        "ServiceEntry",
        {**ENTRY, "resolution": "DNS_ROUND_ROBIN", "endpoints": [MACHINE, MACHINE]},
        "one endpoint at most",
    ),
    ("WorkloadEntry", {"labels": {"a": "b"}}, "one of address, network"),
    ("WorkloadEntry", {"address": "unix:///run/x", "ports": {"http": 80}}, "no ports"),
    ("Sidecar", {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY", "egressProxy": {"host": "a.com"}}}, "egressProxy"),
    ("PeerAuthentication", {"portLevelMtls": {"80": {"mode": "STRICT"}}}, "needs a selector"),
    ("PeerAuthentication", {"portLevelMtls": {"80": {"mode": "STRICT"}}, "selector": {"matchLabels": {}}}, "selector"),
    ("AuthorizationPolicy", {"action": "CUSTOM", "rules": [{}]}, "CUSTOM needs a provider"),
    ("AuthorizationPolicy", {"action": "CUSTOM", "provider": {"name": ""}}, "CUSTOM needs a provider"),
    ("AuthorizationPolicy", {"action": "DENY", "provider": {"name": "opa"}}, "only action CUSTOM"),
    ("AuthorizationPolicy", {"provider": {"name": "opa"}}, "only action CUSTOM"),
    # not in CEL, for what may be many
    ("Gateway", {"selector": {"a": "b"}, "servers": []}, "minItems"),
    ("Gateway", {"servers": [{"port": {"number": 443, "name": "a", "protocol": "HTTPS"}, "hosts": ["*"]}]}, "anyOf"),
    ("Gateway", {"servers": [{"port": TLS_PORT, "hosts": ["*"], "tls": {"mode": "SIMPLE"}}]}, "anyOf"),
    ("DestinationRule", {"host": "a.com", "trafficPolicy": {"tls": {"mode": "MUTUAL", "privateKey": "/k"}}}, "anyOf"),
]
