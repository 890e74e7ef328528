"""HTTP: the connection manager of one filter chain."""

from datetime import timedelta
from typing import Any, Final

from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from controlplane.envoy import source
from controlplane.envoy.access_log import access_logs
from controlplane.envoy.any import packed
from controlplane.envoy.duration import duration
from controlplane.envoy.filters import http_filters
from controlplane.envoy.route import inline_table
from controlplane.ir.cluster import Direction
from controlplane.ir.listener import HttpChain
from controlplane.model.settings import PathNormalization, Settings

NAME: Final = "envoy.filters.network.http_connection_manager"
_EARLY_MUTATION: Final = "envoy.http.early_header_mutation.header_mutation"

_Manager = http_connection_manager_pb2.HttpConnectionManager
_NEVER: Final = timedelta(0)
_MERGES: Final = (PathNormalization.MERGE_SLASHES, PathNormalization.DECODE_AND_MERGE_SLASHES)


def manager(chain: HttpChain, direction: Direction, settings: Settings) -> Any:
    """An `HttpConnectionManager`."""
    message = _Manager(stat_prefix=chain.stat_prefix, codec_type=_Manager.AUTO)
    _set_routes(message, chain)
    message.http_filters.extend(http_filters(chain, settings.dns_refresh_rate))
    message.access_log.extend(access_logs(settings))
    message.upgrade_configs.add(upgrade_type="websocket")
    message.stream_idle_timeout.CopyFrom(duration(_NEVER))  # long streams live; a route's own timeout still holds
    _set_paths(message, settings.path_normalization.normalization)
    _set_identity(message, chain, direction)
    if chain.idle_timeout is not None:
        message.common_http_protocol_options.idle_timeout.CopyFrom(duration(chain.idle_timeout))
    message.http_protocol_options.accept_http_10 = True  # old clients and proxies; Envoy's 426 surprises everybody
    if chain.guard.tokens is not None and (forgeable := chain.guard.tokens.written_headers):
        _remove_early(message, forgeable)
    if not chain.allow_absolute_url:
        message.http_protocol_options.allow_absolute_url.value = False
    return message


def _remove_early(message: Any, headers: tuple[str, ...]) -> None:
    """Before a route is chosen: the filter that writes claims takes out what callers wrote, but after that choice."""
    from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2  # noqa: PLC0415  rare

    mutation = header_mutation_pb2.HeaderMutation()
    for header in headers:
        mutation.mutations.add(remove=header)
    message.early_header_mutation_extensions.add(name=_EARLY_MUTATION, typed_config=packed(mutation))


def _set_routes(message: Any, chain: HttpChain) -> None:
    if not chain.route:
        message.route_config.CopyFrom(inline_table(chain.route_name, chain.virtual_hosts, gateway=chain.gateway))
        return
    message.rds.route_config_name = chain.route
    # Until its routes come a listener stays closed: a refused connection is honest, a 404 for everything is not.
    message.rds.config_source.CopyFrom(source.ads(_NEVER))


def _set_paths(message: Any, normalization: PathNormalization) -> None:
    message.normalize_path.value = normalization is not PathNormalization.NONE
    message.merge_slashes = normalization in _MERGES
    decodes = normalization is PathNormalization.DECODE_AND_MERGE_SLASHES
    message.path_with_escaped_slashes_action = _Manager.UNESCAPE_AND_FORWARD if decodes else _Manager.KEEP_UNCHANGED


def _set_identity(message: Any, chain: HttpChain, direction: Direction) -> None:
    """Who is believed to have called. The edge starts the story, a sidecar in front of an application adds to it."""
    message.use_remote_address.value = chain.use_remote_address
    message.xff_num_trusted_hops = chain.xff_trusted_hops
    if not chain.gateway and direction is Direction.OUTBOUND:
        return
    message.server_name = chain.server_name
    certificate = message.set_current_client_cert_details
    certificate.subject.value = True
    certificate.uri, certificate.dns, certificate.cert = True, True, chain.gateway
    message.forward_client_cert_details = _Manager.SANITIZE_SET if chain.gateway else _Manager.APPEND_FORWARD
