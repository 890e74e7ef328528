"""What reads the bytes behind a filter chain: the terminal network filter."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.filters.network.set_filter_state.v3 import set_filter_state_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2

from controlplane.explain.action import Target
from controlplane.explain.matchers import string_matches

_PREFIX: Final = "type.googleapis.com/"
_NETWORK: Final = _PREFIX + "envoy.extensions.filters.network."
_HCM: Final = _NETWORK + "http_connection_manager.v3.HttpConnectionManager"
_TCP: Final = _NETWORK + "tcp_proxy.v3.TcpProxy"
_SNI_CLUSTER: Final = _NETWORK + "sni_cluster.v3.SniCluster"
_STATE: Final = _NETWORK + "set_filter_state.v3.Config"
_TLS: Final = _PREFIX + "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"


def http_manager(chain: Any) -> Any | None:
    """The HttpConnectionManager of a chain, if that is what it ends in."""
    found = _last(chain, _HCM)
    return http_connection_manager_pb2.HttpConnectionManager.FromString(found) if found is not None else None


def tcp_proxy(chain: Any) -> Any | None:
    found = _last(chain, _TCP)
    return tcp_proxy_pb2.TcpProxy.FromString(found) if found is not None else None


def _last(chain: Any, type_url: str) -> bytes | None:
    """The value of the chain's last filter if it has this type: only a terminal filter may stand there."""
    last = chain.filters[-1].typed_config if chain.filters else None
    return last.value if last is not None and last.type_url == type_url else None


def tcp_targets(chain: Any, proxy: Any, server_name: str) -> list[Target]:
    """The clusters a TCP proxy draws from; `sni_cluster` puts the server name before a single one."""
    if proxy.WhichOneof("cluster_specifier") == "weighted_clusters":
        return [Target(entry.name, entry.weight) for entry in proxy.weighted_clusters.clusters]
    if server_name and any(one.typed_config.type_url == _SNI_CLUSTER for one in chain.filters):
        return [Target(server_name, 1)]
    return [Target(proxy.cluster, 1)]


def tls_context(chain: Any) -> Any | None:
    """The DownstreamTlsContext of a chain that terminates TLS."""
    config = chain.transport_socket.typed_config
    return tls_pb2.DownstreamTlsContext.FromString(config.value) if config.type_url == _TLS else None


def asks_for_certificate(context: Any) -> bool:
    """Without anything to validate against, a server asks clients for no certificate and sees none."""
    kind = context.common_tls_context.WhichOneof("validation_context_type")
    return kind is not None or bool(context.require_client_certificate.value)


def validates(context: Any) -> bool:
    return context.common_tls_context.WhichOneof("validation_context_type") is not None


def takes_identity(context: Any, names: Sequence[str]) -> bool:
    """Whether the client's certificate has one of the names a server asks for.

    Only URIs are judged; where other names would do, a certificate has one of them.
    """
    common = context.common_tls_context
    combined = common.WhichOneof("validation_context_type") == "combined_validation_context"
    checks = common.combined_validation_context.default_validation_context if combined else common.validation_context
    asked = checks.match_typed_subject_alt_names
    untrusted = checks.trust_chain_verification == checks.ACCEPT_UNTRUSTED
    if not asked or untrusted or any(one.san_type != one.URI for one in asked):
        return True
    return any(string_matches(one.matcher, name) for one in asked for name in names if "://" in name)


def state_of(chain: Any) -> Mapping[str, str]:
    """What the chain's filters note of every connection, and tell connections to endpoints. Constants only."""
    found: dict[str, str] = {}
    for one in chain.filters:
        if one.typed_config.type_url == _STATE:
            config = set_filter_state_pb2.Config.FromString(one.typed_config.value)
            for value in config.on_new_connection:
                found[value.object_key] = value.format_string.text_format_source.inline_string
    return found


def negotiated(context: Any, alpn: Sequence[str]) -> str:
    """The application protocol of the handshake: the first of the server's list that the client offers."""
    return next((one for one in context.common_tls_context.alpn_protocols if one in alpn), "")


def secret_names(context: Any) -> list[str]:
    """Secrets the context fetches by name over ADS; those in files are somebody else's to bring."""
    common = context.common_tls_context
    references = list(common.tls_certificate_sds_secret_configs)
    if common.HasField("validation_context_sds_secret_config"):
        references.append(common.validation_context_sds_secret_config)
    combined = common.combined_validation_context
    if combined.HasField("validation_context_sds_secret_config"):
        references.append(combined.validation_context_sds_secret_config)
    return [reference.name for reference in references if reference.sds_config.HasField("ads")]
