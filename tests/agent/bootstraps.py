"""Static bootstraps for agents' Envoys, as a control plane would send them: certificates from files, paths relative."""

import json
from typing import Any

_SDS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_WATCHED = {"path": "identity"}


def documents(
    address: str, port: int, upstream: tuple[str, int] | None = None, *, more: dict[str, Any] | None = None
) -> dict[str, str]:
    """A listener `inbound` that demands the mesh's certificates, in front of an upstream (or answering by itself)."""
    bootstrap = {
        "node": {"id": "test", "cluster": "test"},
        "admin": {"address": {"pipe": {"path": "admin.sock", "mode": 0o600}}},
        "static_resources": {
            "listeners": [_listener(address, port, has_upstream=upstream is not None)],
            "clusters": [_cluster(upstream)] if upstream else [],
        },
        **(more or {}),
    }
    return {
        "bootstrap.json": json.dumps(bootstrap),
        "sds-certificate.json": _document("default", {"tls_certificate": _certificate()}),
        "sds-roots.json": _document("ROOTCA", {"validation_context": _roots()}),
    }


def _document(name: str, secret: dict[str, Any]) -> str:
    return json.dumps({"resources": [{"@type": _SDS, "name": name, **secret}]})


def _certificate() -> dict[str, Any]:
    return {
        "certificate_chain": {"filename": "identity/cert-chain.pem"},
        "private_key": {"filename": "identity/key.pem"},
        "watched_directory": _WATCHED,
    }


def _roots() -> dict[str, Any]:
    return {"trusted_ca": {"filename": "identity/root-cert.pem"}, "watched_directory": _WATCHED}


def _sds(name: str, document: str) -> dict[str, Any]:
    source = {"path_config_source": {"path": document, "watched_directory": _WATCHED}, "resource_api_version": "V3"}
    return {"name": name, "sds_config": source}


def _listener(address: str, port: int, *, has_upstream: bool) -> dict[str, Any]:
    tls = {
        "@type": _TLS,
        "require_client_certificate": True,
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [_sds("default", "sds-certificate.json")],
            "validation_context_sds_secret_config": _sds("ROOTCA", "sds-roots.json"),
        },
    }
    return {
        "name": "inbound",
        "traffic_direction": "INBOUND",
        "address": {"socket_address": {"address": address, "port_value": port}},
        "filter_chains": [
            {
                "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
                "filters": [{"name": "http", "typed_config": _manager(has_upstream=has_upstream)}],
            }
        ],
    }


def _manager(*, has_upstream: bool) -> dict[str, Any]:
    answer = {"status": 200, "body": {"inline_string": "hello"}}
    action = {"route": {"cluster": "app", "timeout": "60s"}} if has_upstream else {"direct_response": answer}
    route = {"match": {"prefix": "/"}, **action}
    return {
        "@type": _HCM,
        "stat_prefix": "inbound",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
    }


def _cluster(upstream: tuple[str, int]) -> dict[str, Any]:
    address = {"socket_address": {"address": upstream[0], "port_value": upstream[1]}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {
        "name": "app",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "app", "endpoints": endpoints},
    }
