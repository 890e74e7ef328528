"""Sets of policies, each before a listener of its own, all in one Envoy.

The listeners are as sidecars have them: rules are made by the front end, put in by `guarded`, and encoded like any
other. What stands behind them answers 200 to every request that comes through, and says what dry runs noted.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from controlplane.envoy import cluster as envoy_cluster
from controlplane.envoy import listener as envoy_listener
from controlplane.explain import Address, Resources
from controlplane.explain import decode as decode_resources
from controlplane.ir.cluster import Cluster, Direction, Upstream
from controlplane.ir.guard import Guard, PeerMode, Peers, WorkloadPolicy
from controlplane.ir.listener import (
    ChainMatch,
    FilterChain,
    HttpChain,
    Listener,
    Network,
    ServerTls,
    ServerTlsMode,
    TcpChain,
)
from controlplane.ir.policy import TrafficPolicy
from controlplane.ir.route import DirectResponse, HeaderOps, Route, RouteMatch, VirtualHost, WeightedCluster
from controlplane.ir.service import Endpoint, Resolution, Service
from controlplane.mesh.authorization import authorization, read
from controlplane.mesh.authorization.providers import Lookup
from controlplane.mesh.guarding import guarded
from controlplane.mesh.requestauthentication import tokens
from controlplane.model.authorizationpolicy import AuthorizationPolicy
from controlplane.model.decode import decode
from controlplane.model.problem import ObjectRef, Origin
from controlplane.model.settings import Settings
from controlplane.snapshot.resource import Resource
from tests.envoys import RunningEnvoy, start, static_bootstrap
from tests.explain.authorization import words
from tests.explain.authorization.policies import OWN_PORT, TCP_PORT

UPSTREAM = "echo"
DENIED = "x-dry-run-deny"  # what dry runs of DENY and of ALLOW policies noted
ALLOWED = "x-dry-run-allow"
_ORIGIN = Origin(ObjectRef("", "Test", "", "test"))
_NOTED = HeaderOps(
    response_set=tuple(
        (name, f"%DYNAMIC_METADATA(envoy.filters.http.rbac:istio_dry_run_{action}_shadow_engine_result)%")
        for name, action in ((DENIED, "deny"), (ALLOWED, "allow"))
    )
)
_TLS = ServerTls(ServerTlsMode.OPTIONAL_MUTUAL, secrets=("own",), ca_secret="roots", alpn=("h2", "http/1.1"))


def nowhere(_host: str, _namespace: str) -> Service | None:
    """There are no services, so nobody can be asked."""
    return None


class Set(NamedTuple):
    """Policies for one workload, and where it listens: `addresses` are its alone."""

    name: str
    documents: tuple[Any, ...]
    policies: tuple[AuthorizationPolicy, ...]  # the same, read
    settings: Settings
    addresses: tuple[str, str]
    lookup: Lookup = nowhere

    @classmethod
    def of(cls, name: str, documents: Sequence[Any], settings: Settings, addresses: tuple[str, str]) -> "Set":
        """Documents as users write them."""
        read: list[Any] = [decode(document).value for document in documents]
        return cls(name, tuple(documents), tuple(read), settings, addresses)


@contextmanager
def envoy_of(sets: Sequence[Set], upstream: Address, others: Sequence[Resource] = ()) -> Iterator[RunningEnvoy]:
    """One Envoy with all of them."""
    with start(static_bootstrap(resources_of(sets, upstream, others)), log_level="critical") as envoy:
        yield envoy


def resources_of(sets: Sequence[Set], upstream: Address, others: Sequence[Resource] = ()) -> Resources:
    """What it is configured with."""
    found: list[Resource] = [cluster_of(UPSTREAM, upstream), *others]
    for each in sets:
        found += [envoy_listener.encode(one, each.settings) for one in listeners_of(each)]
    resources = decode_resources(found)[0]
    for listener in resources.listeners.values():
        _hurry(listener)
    return resources


def _hurry(listener: Any) -> None:
    """After a request that is none, Envoy keeps the connection open for a second; tests have no second."""
    for each in (one for chain in listener.filter_chains for one in chain.filters):
        if each.typed_config.Is(HttpConnectionManager.DESCRIPTOR):
            manager = HttpConnectionManager.FromString(each.typed_config.value)
            manager.delayed_close_timeout.FromMilliseconds(1)
            each.typed_config.Pack(manager)


def listeners_of(each: Set) -> tuple[Listener, Listener]:
    """One for requests, one for bytes."""
    policy = _policy_of(each)
    route = Route(RouteMatch(), DirectResponse(200), _ORIGIN, headers=_NOTED)
    http = HttpChain("http", route_name=each.name, virtual_hosts=(VirtualHost("all", ("*",), (route,)),))
    tcp = TcpChain("tcp", (WeightedCluster(UPSTREAM),))
    return (
        guarded(_listener(f"{each.name}-http", each, OWN_PORT, http), policy),
        guarded(_listener(f"{each.name}-tcp", each, TCP_PORT, tcp), policy),
    )


def _policy_of(each: Set) -> WorkloadPolicy:
    policies = [read(policy, each.settings) for policy in each.policies]
    of_requests, _ = authorization(policies, each.settings, each.lookup, http=True)
    of_connections, _ = authorization(policies, each.settings, each.lookup, http=False)
    believing: Any = decode(words.request_authentication()).value
    believed, _ = tokens([believing], _NoKeys())
    return WorkloadPolicy(Peers(PeerMode.DISABLE), Guard(believed, of_requests), Guard(None, of_connections))


class _NoKeys:
    """All keys are in place."""

    discovers = False

    def fetched(self, uri: str) -> Any:
        raise AssertionError(f"nobody asked {uri}")

    def cluster(self, location: Any, namespace: str) -> str:
        raise AssertionError(f"{namespace} asks for {location}")


def _listener(name: str, each: Set, port: int, network: Network) -> Listener:
    return Listener(
        name=name,
        address=each.addresses[0],
        port=port,
        direction=Direction.INBOUND,
        chains=(
            FilterChain("tls", ChainMatch(transport="tls"), network, _TLS),
            FilterChain("plain", ChainMatch(transport="raw_buffer"), network),
        ),
        extra_addresses=each.addresses[1:],
        inspect_tls=True,
    )


def cluster_of(name: str, at: Address, spoken: Upstream = Upstream.TCP) -> Resource:
    """One address."""
    made = Cluster(
        name,
        Direction.OUTBOUND,
        Resolution.STATIC,
        spoken,
        TrafficPolicy(),
        (),
        endpoints=(Endpoint(at.ip, at.port, {}),),
    )
    return envoy_cluster.encode(made, Settings())
