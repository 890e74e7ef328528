"""What a configuration does that the simulator does not follow, said aloud instead of guessed."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from controlplane.explain.cluster import is_by_name
from controlplane.explain.headers import EARLY_MUTATION, early_mutations
from controlplane.explain.httpfilters import CORS, FAULT, Place, fault_of, is_certain
from controlplane.explain.listenerfilters import HTTP_INSPECTOR, KNOWN, TLS_INSPECTOR
from controlplane.explain.rbac import ASKING, ASKING_NETWORK, HTTP
from controlplane.explain.route import is_drawn
from controlplane.explain.tokens import TYPE_URL as TOKENS

_HTTP: Final = "type.googleapis.com/envoy.extensions.filters.http."
# HTTP filters that never answer a request themselves, or whose answer is simulated.
_TRANSPARENT: Final = frozenset(
    {
        CORS,
        FAULT,
        TOKENS,
        HTTP,
        ASKING,
        _HTTP + "buffer.v3.Buffer",
        _HTTP + "compressor.v3.Compressor",
        _HTTP + "dynamic_forward_proxy.v3.FilterConfig",
        _HTTP + "grpc_stats.v3.FilterConfig",
        _HTTP + "grpc_web.v3.GrpcWeb",
        _HTTP + "on_demand.v3.OnDemand",
        _HTTP + "router.v3.Router",
        _HTTP + "set_filter_state.v3.Config",
        _HTTP + "stateful_session.v3.StatefulSession",
    }
)


def of_listener(listener: Any) -> Iterator[str]:
    if listener.HasField("filter_chain_matcher"):
        yield f"listener {listener.name}: filter_chain_matcher is not followed"
    for one in listener.listener_filters:
        if one.typed_config.type_url not in KNOWN:
            yield f"listener {listener.name}: listener filter {one.name} is not followed"
    kinds = [one.typed_config.type_url for one in listener.listener_filters]
    if HTTP_INSPECTOR in kinds and TLS_INSPECTOR in kinds[kinds.index(HTTP_INSPECTOR) :]:
        yield f"listener {listener.name}: an HTTP inspector before the TLS inspector may hold up handshakes"
    for field in ("prefix_ranges", "source_prefix_ranges", "direct_source_prefix_ranges"):
        if _mixes_any(listener, field):
            yield f"listener {listener.name}: chains with and without {field} of /0 are one to Envoy, either may win"


def _mixes_any(listener: Any, field: str) -> bool:
    ranges = [getattr(chain.filter_chain_match, field) for chain in listener.filter_chains]
    says_any = any(one.HasField("prefix_len") and not one.prefix_len.value for many in ranges for one in many)
    return says_any and not all(ranges)


def of_network(chain: Any) -> Iterator[str]:
    for one in chain.filters:
        if one.typed_config.type_url == ASKING_NETWORK:
            yield f"network filter {one.name} may refuse the connection"


def of_filters(manager: Any, place: Place) -> Iterator[str]:
    if any(one.typed_config.type_url != EARLY_MUTATION for one in manager.early_header_mutation_extensions):
        yield "headers are changed before routing in ways that are not followed"
    if not all(one.remove for one in early_mutations(manager)):
        yield "headers are added before routing"
    for one in manager.http_filters:
        kind = one.typed_config.type_url
        if kind not in _TRANSPARENT:
            yield f"HTTP filter {one.name} may answer by itself"
        if kind == FAULT:
            abort = fault_of(one, place).abort.percentage
            if abort.numerator and not is_certain(abort):
                yield f"HTTP filter {one.name} answers a part of the requests"


def of_routes(virtual_host: Any, upto: int) -> Iterator[str]:
    """Routes up to the winner whose match depends on more than the request."""
    if virtual_host.HasField("matcher"):
        yield f"virtual host {virtual_host.name}: matcher is not followed"
    for route in list(virtual_host.routes)[: upto + 1]:
        yield from (f"route {route.name or '(unnamed)'}: {why}" for why in _of_match(route.match))


def _of_match(match: Any) -> Iterable[str]:
    if is_drawn(match):
        yield "its runtime fraction leaves it to chance; taken as a match"
    if match.WhichOneof("path_specifier") == "path_match_policy":
        yield "URI templates are not followed; taken as no match"
    if match.filter_state:
        yield "filter state is taken as absent"


def of_action(action: Any) -> Iterator[str]:
    if action.WhichOneof("cluster_specifier") in {"cluster_specifier_plugin", "inline_cluster_specifier_plugin"}:
        yield "a cluster specifier plugin chooses the cluster"
    for field in ("path_rewrite_policy", "internal_redirect_policy"):
        if action.HasField(field):
            yield f"{field} is not followed"


def of_cluster(cluster: Any) -> Iterator[str]:
    if cluster.HasField("cluster_type") and not is_by_name(cluster):
        yield f"cluster {cluster.name}: endpoints of {cluster.cluster_type.name} are known at run time only"
    if cluster.HasField("lb_subset_config"):
        yield f"cluster {cluster.name}: load balancer subsets are not followed"
    if cluster.health_checks:
        yield f"cluster {cluster.name}: active health checks decide at run time"
