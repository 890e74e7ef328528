"""Whole random cases: clusters, listeners of three shapes, calls."""

from collections.abc import Iterable, Sequence
from itertools import product
from random import Random  # noqa: TID251 — takes its seed as an argument
from typing import Any

from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.listener.proxy_protocol.v3 import proxy_protocol_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2
from envoy.extensions.filters.network.sni_cluster.v3 import sni_cluster_pb2
from google.protobuf import json_format

from controlplane.explain import Address, Resources
from tests.explain.case import Addresses, Case
from tests.explain.generate.calls import calls_of
from tests.explain.generate.routes import route_configuration
from tests.explain.generate.words import (
    ALPNS,
    APPLICATION_PROTOCOLS,
    SERVER_NAMES,
    TYPE,
    Json,
    maybe,
    some,
)

# Imported for what they register: protobuf JSON opens only types it knows.
REGISTERED = (
    cors_pb2,
    fault_pb2,
    http_inspector_pb2,
    original_dst_pb2,
    proxy_protocol_pb2,
    sni_cluster_pb2,
    tls_inspector_pb2,
)
ADS = {"ads": {}, "resource_api_version": "V3"}
CALLS = 14  # a case


def provide(seed: int, addresses: Addresses, endpoints: Sequence[Address]) -> Case:
    """The provider of random Envoy configurations; seeds one after the other give all shapes."""
    rng = Random(seed)
    make = (table, chains, table, captured)[seed % 4]
    return make(rng, f"c{seed}", addresses, endpoints)


def table(rng: Random, name: str, addresses: Addresses, endpoints: Sequence[Address]) -> Case:
    """One HTTP listener with a route table: matches, hosts, actions."""
    world = _World(rng, name, endpoints)
    at = Address(addresses.take(), _port(name, 0))
    chain = world.http_chain()
    secure = rng.random() < 0.15
    listener = {"name": name, **_address(at), "filter_chains": [world.with_tls(chain) if secure else chain]}
    return world.case([listener], [at])


def chains(rng: Random, name: str, addresses: Addresses, endpoints: Sequence[Address]) -> Case:
    """One listener with inspectors and many filter chains; half of them behind a PROXY header."""
    world = _World(rng, name, endpoints)
    at = Address(addresses.take(), _port(name, 0))
    proxied = rng.random() < 0.5
    filters = _inspectors(rng)
    if proxied:
        filters.insert(rng.randint(0, len(filters)), _listener_filter("proxy_protocol", "ProxyProtocol"))
    listener = {
        "name": name,
        **_address(at),
        "listener_filters": filters,
        **_patience(rng),
        "filter_chains": _distinct_chains(rng, world, at, proxied=proxied),
        **maybe(rng, 0.4, default_filter_chain=world.any_chain()),
    }
    return world.case([listener], [at], proxied=proxied)


def captured(rng: Random, name: str, addresses: Addresses, endpoints: Sequence[Address]) -> Case:
    """Traffic capture: a listener that hands over by original destination, and listeners bound to no port."""
    world = _World(rng, name, endpoints)
    entry, service = Address(addresses.take(), _port(name, 0)), addresses.take()
    port, other = _port(name, 1), _port(name, 2)
    passthrough = {"destination_port": other} if rng.random() < 0.3 else {}
    outbound = {
        "name": f"{name}-entry",
        **_address(entry),
        "use_original_dst": True,
        "listener_filters": [_listener_filter("original_dst", "OriginalDst"), *_inspectors(rng)[:1]],
        **_patience(rng),
        "filter_chains": [{**world.tcp_chain(), "filter_chain_match": passthrough}],
        "default_filter_chain": world.tcp_chain(world.passthrough()),
    }
    places = rng.sample((Address(service, port), Address("0.0.0.0", port), Address(service, other)), rng.randint(1, 3))
    owned = [_unbound(rng, world, f"{name}-{i}", at) for i, at in enumerate(places)]
    wanted = [Address(service, port), Address(service, other), Address(addresses.take(), port), *endpoints[:2]]
    return world.case([outbound, *owned], wanted, captured_at=entry)


def _unbound(rng: Random, world: "_World", name: str, at: Address) -> Json:
    inspectors = _inspectors(rng)
    own = [world.http_chain()] if rng.random() < 0.6 else _distinct_chains(rng, world, at, proxied=False)
    filters = {"listener_filters": inspectors, **_patience(rng)}
    return {"name": name, **_address(at), "bind_to_port": False, "filter_chains": own, **filters}


class _World:
    """Clusters, route configurations and secrets, collected while listeners are made."""

    def __init__(self, rng: Random, name: str, endpoints: Sequence[Address]) -> None:
        self._rng, self._name, self._pool = rng, name, endpoints
        self._clusters: list[Json] = []
        self._assignments: list[Json] = []
        self._routes: list[Json] = []
        self._secrets: list[Json] = []
        for index in range(rng.randint(2, 4)):
            self._add_cluster(f"{name}-up{index}")

    def case(self, listeners: list[Json], wanted: Sequence[Address], **entry: Any) -> Case:
        static = {"listeners": listeners, "clusters": self._clusters, "secrets": self._secrets}
        found = json_format.ParseDict({"static_resources": static}, bootstrap_pb2.Bootstrap()).static_resources
        routes = [json_format.ParseDict(one, route_pb2.RouteConfiguration()) for one in self._routes]
        loads = [json_format.ParseDict(one, endpoint_pb2.ClusterLoadAssignment()) for one in self._assignments]
        parts = [*found.listeners, *found.clusters, *found.secrets, *routes, *loads]
        resources = Resources.of(parts)
        return Case(resources, calls_of(self._rng, resources, wanted, CALLS, **entry))

    def cluster_names(self) -> list[str]:
        """Those that exist, and one that does not."""
        return [*(one["name"] for one in self._clusters), *([f"{self._name}-missing"] * (self._rng.random() < 0.5))]

    def passthrough(self) -> str:
        name = f"{self._name}-passthrough"
        if name not in self.cluster_names():
            self._clusters.append({"name": name, "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"})
        return name

    def any_chain(self) -> Json:
        return self.http_chain() if self._rng.random() < 0.6 else self.tcp_chain()

    def http_chain(self) -> Json:
        return {"filters": [{"name": "http", "typed_config": self._manager()}]}

    def tcp_chain(self, cluster: str = "") -> Json:
        rng = self._rng
        proxy: Json = {"@type": TYPE + "extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "x"}
        if cluster or rng.random() < 0.7:
            proxy["cluster"] = cluster or rng.choice(self.cluster_names())
        else:
            chosen = some(rng, self.cluster_names(), 2)
            entries = [{"name": one, "weight": rng.randint(1, 3)} for one in chosen]
            proxy["weighted_clusters"] = {"clusters": entries}
        filters = [{"name": "tcp", "typed_config": proxy}]
        if not cluster and rng.random() < 0.1:
            sni = {"@type": TYPE + "extensions.filters.network.sni_cluster.v3.SniCluster"}
            filters.insert(0, {"name": "sni", "typed_config": sni})
        return {"filters": filters}

    def with_tls(self, chain: Json) -> Json:
        """Behind a TLS context whose certificate comes by name."""
        rng = self._rng
        if not self._secrets:
            self._secrets = [{"name": f"{self._name}-cert", "tls_certificate": {}}]
            self._secrets.append({"name": f"{self._name}-ca", "validation_context": {}})
        common: Json = {"tls_certificate_sds_secret_configs": [{"name": f"{self._name}-cert", "sds_config": ADS}]}
        common["alpn_protocols"] = list(rng.choice(ALPNS))
        context: Json = {"@type": TYPE + "extensions.transport_sockets.tls.v3.DownstreamTlsContext"}
        if rng.random() < 0.3:
            common["validation_context_sds_secret_config"] = {"name": f"{self._name}-ca", "sds_config": ADS}
            context["require_client_certificate"] = rng.random() < 0.5
        socket = {"name": "tls", "typed_config": {**context, "common_tls_context": common}}
        return {**chain, "transport_socket": socket}

    def _manager(self) -> Json:
        rng = self._rng
        name = f"{self._name}-routes{len(self._routes)}"
        config = route_configuration(rng, name, self.cluster_names())
        inline = rng.random() < 0.3
        self._routes.append({"name": name} if inline else config)
        source = {"route_config": config} if inline else {"rds": {"route_config_name": name, "config_source": ADS}}
        filters = [_http_filter("fault", "fault.v3.HTTPFault"), _http_filter("cors", "cors.v3.Cors")]
        return {
            "@type": TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "x",
            "http_filters": [*filters, _http_filter("router", "router.v3.Router")],
            **source,
            **_options(rng),
        }

    def _add_cluster(self, name: str) -> None:
        rng = self._rng
        cluster: Json = {"name": name, "type": "EDS", "eds_cluster_config": {"eds_config": ADS}}
        cluster["common_lb_config"] = {
            **maybe(rng, 0.6, healthy_panic_threshold={"value": rng.choice((0, 0, 30, 50, 100))}),
            **maybe(rng, 0.3, locality_weighted_lb_config={}),
        }
        self._clusters.append(cluster)
        if rng.random() < 0.95:
            self._assignments.append({"cluster_name": name, "endpoints": _localities(rng, self._pool)})


def _localities(rng: Random, pool: Sequence[Address]) -> list[Json]:
    """Mostly healthy; sometimes empty, ill, or spread over localities and priorities."""
    if rng.random() < 0.08:
        return []
    ill = rng.choice((0.0, 0.0, 0.3, 0.7, 1.0))
    chosen = some(rng, pool, 8)
    cut = rng.randint(0, len(chosen))
    return [
        _locality(rng, f"zone{i}", i if rng.random() < 0.5 else 0, part, ill)
        for i, part in enumerate((chosen[:cut], chosen[cut:]))
        if part or rng.random() < 0.3
    ]


def _locality(rng: Random, zone: str, priority: int, pool: Sequence[Address], ill: float) -> Json:
    return {
        "locality": {"region": "r", "zone": zone},
        "priority": priority,
        "lb_endpoints": [_endpoint(rng, at, ill) for at in pool],
        **maybe(rng, 0.6, load_balancing_weight=rng.randint(1, 3)),
    }


def _endpoint(rng: Random, at: Address, ill: float) -> Json:
    states = ("UNHEALTHY", "DRAINING", "TIMEOUT", "DEGRADED") if rng.random() < ill else ("HEALTHY", "UNKNOWN")
    return {"endpoint": _address(at), "health_status": rng.choice(states)}


def _options(rng: Random) -> Json:
    """What the connection manager does to a request before routing."""
    slashes = ("KEEP_UNCHANGED", "REJECT_REQUEST", "UNESCAPE_AND_REDIRECT", "UNESCAPE_AND_FORWARD")
    strip = rng.choice(({}, {}, {}, {"strip_any_host_port": True}, {"strip_matching_host_port": True}))
    return {
        **maybe(rng, 0.5, normalize_path=rng.random() < 0.8),
        **maybe(rng, 0.3, merge_slashes=True),
        **maybe(rng, 0.3, path_with_escaped_slashes_action=rng.choice(slashes)),
        **strip,
        **maybe(rng, 0.1, strip_trailing_host_dot=True),
        **maybe(rng, 0.3, use_remote_address=True),
        **maybe(rng, 0.3, upgrade_configs=[{"upgrade_type": "websocket", **maybe(rng, 0.2, enabled=False)}]),
        **maybe(rng, 0.1, xff_num_trusted_hops=1),
        **maybe(rng, 0.3, http_protocol_options={"accept_http_10": True}),
    }


def _http_filter(name: str, kind: str) -> Json:
    return {"name": name, "typed_config": {"@type": TYPE + "extensions.filters.http." + kind}}


def _listener_filter(folder: str, kind: str) -> Json:
    return {"name": folder, "typed_config": {"@type": f"{TYPE}extensions.filters.listener.{folder}.v3.{kind}"}}


def _inspectors(rng: Random) -> list[Json]:
    """TLS before HTTP, as both are used; sometimes one is off for some ports."""
    found = [_listener_filter("tls_inspector", "TlsInspector"), _listener_filter("http_inspector", "HttpInspector")]
    kept = [one for one in found if rng.random() < 0.8]
    for one in kept:
        if rng.random() < 0.15:
            ports = {"destination_port_range": {"start": 1, "end": rng.choice((1000, 60000))}}
            one["filter_disabled"] = rng.choice((ports, {"not_match": ports}, {"or_match": {"rules": [ports, ports]}}))
    return kept


def _patience(rng: Random) -> Json:
    """Short, so that silent clients do not hold up the test."""
    return {"listener_filters_timeout": "0.5s", **maybe(rng, 0.5, continue_on_listener_filters_timeout=True)}


def _distinct_chains(rng: Random, world: _World, at: Address, *, proxied: bool) -> list[Json]:
    """Chains whose matches do not overlap: Envoy refuses a listener where two are equal in one combination."""
    taken: set[tuple[Any, ...]] = set()
    found: list[Json] = []
    for _ in range(rng.randint(1, 7)):
        wanted = _chain_match(rng, at, proxied=proxied)
        keys = set(_combinations(wanted))
        if keys & taken:
            continue
        taken |= keys
        chain = world.any_chain()
        tls = rng.random() < (0.6 if wanted.get("transport_protocol") == "tls" else 0.15)
        found.append(
            {**(world.with_tls(chain) if tls else chain), "filter_chain_match": wanted, "name": f"k{len(found)}"}
        )
    return found


def _chain_match(rng: Random, at: Address, *, proxied: bool) -> Json:
    near = ("127.0.0.0/8", f"{at.ip}/32", f"{at.ip}/24", "10.0.0.0/8", "::1/128")
    sources = ("127.0.0.0/8", "127.0.0.2/32", "127.1.0.0/16", "10.0.0.0/8")
    return {
        **maybe(
            rng,
            0.3,
            destination_port=rng.choice((at.port, at.port, 443, 9999) if proxied else (at.port, at.port, at.port, 443)),
        ),
        **maybe(rng, 0.3, prefix_ranges=[_cidr(one) for one in some(rng, near, 2)]),
        **maybe(rng, 0.35, server_names=some(rng, SERVER_NAMES, 2)),
        **maybe(rng, 0.4, transport_protocol=rng.choice(("tls", "tls", "raw_buffer"))),
        **maybe(rng, 0.3, application_protocols=some(rng, APPLICATION_PROTOCOLS, 2)),
        **maybe(rng, 0.15, direct_source_prefix_ranges=[_cidr(one) for one in some(rng, sources, 2)]),
        **maybe(rng, 0.2, source_type=rng.choice(("SAME_IP_OR_LOOPBACK", "EXTERNAL"))),
        **maybe(rng, 0.2, source_prefix_ranges=[_cidr(one) for one in some(rng, sources, 2)]),
        **maybe(rng, 0.2 if proxied else 0, source_ports=some(rng, (40001, 40002, 40003), 2)),
    }


def _cidr(text: str) -> Json:
    prefix, _, length = text.partition("/")
    return {"address_prefix": prefix, "prefix_len": int(length)}


def _combinations(match: Json) -> Iterable[tuple[Any, ...]]:
    def each(field: str) -> list[str]:
        value = match.get(field, [""])
        return [str(one) for one in (value if isinstance(value, list) else [value])]

    fields = ("destination_port", "prefix_ranges", "server_names", "transport_protocol", "application_protocols")
    more = ("direct_source_prefix_ranges", "source_type", "source_prefix_ranges", "source_ports")
    return product(*(each(field) for field in (*fields, *more)))


def _address(at: Address) -> Json:
    return {"address": {"socket_address": {"address": at.ip, "port_value": at.port}}}


def _port(name: str, which: int) -> int:
    """Below the kernel's own ports, and different for each case of a batch: wildcard listeners differ by port only."""
    return 10_000 + (int(name.lstrip("c")) * 4 + which) % 20_000
