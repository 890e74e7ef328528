"""Who answers for the keys of token issuers: hosts of the registry by their own clusters, others by clusters made here,
or by what the control plane itself was told there (`jwksResolver: control-plane`).

The clusters follow from references, as those of routes do (`reached.py`): a listener that names one has it beside it,
in the same layer, and whoever stops naming it lets it go.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from controlplane.compile.inputs import Inputs, Key, settings_of
from controlplane.compile.outbound import Named, NamedKey
from controlplane.compile.registry import Registry
from controlplane.compile.rules import Rules
from controlplane.envoy import cluster as envoy_cluster
from controlplane.ir import names
from controlplane.ir.service import Protocol, Service
from controlplane.mesh import hosts as mesh_hosts
from controlplane.mesh import keyserver
from controlplane.mesh import requestauthentication as mesh_tokens
from controlplane.mesh.caller import Caller
from controlplane.mesh.tenancy import exported
from controlplane.model.fetchedkeys import FetchedKeys
from controlplane.model.jwksuri import KeyLocation
from controlplane.model.requestauthentication import RequestAuthentication
from controlplane.model.settings import JwksResolver
from controlplane.snapshot import types
from controlplane.snapshot.resource import Resource
from controlplane.store import Collection, Fetch, Store

WantedKey = tuple[str, str]  # (namespace of who wants it, URI)
_NOT_YET: Final = FetchedKeys(failure="nobody has asked yet")


class KnownServers:
    """`KeyServers` for one workload, answered through recorded fetches."""

    def __init__(self, fetch: Fetch, inputs: Inputs, registry: Registry, rules: Rules, caller: Caller) -> None:
        self._fetch = fetch
        self._inputs = inputs
        self._registry = registry
        self._rules = rules
        self._caller = caller
        self._settings = settings_of(fetch, inputs)

    @property
    def discovers(self) -> bool:
        return self._settings.jwks_resolver is JwksResolver.CONTROL_PLANE

    def fetched(self, uri: str) -> FetchedKeys:
        return self._fetch(self._inputs.fetched_keys, uri) or _NOT_YET

    def cluster(self, location: KeyLocation, namespace: str) -> str:
        """A host of the registry, if calls to it are as safe as the URI says; else one for this purpose alone."""
        service = self._service(location, namespace)
        if service is not None and self._is_safe(service, location):
            return names.outbound_cluster(service.host, location.port)
        if self.discovers:
            return ""
        return names.key_server_cluster(location.host, location.port, tls=location.tls)

    def _service(self, location: KeyLocation, namespace: str) -> Service | None:
        for host in mesh_hosts.readings(location.host, namespace, self._settings.cluster_domain):
            found = self._visible(host)
            port = found.port(location.port) if found is not None else None
            if port is not None and port.protocol is not Protocol.UDP:
                return found
        return None

    def _visible(self, host: str) -> Service | None:
        service = self._registry.service_for(self._fetch, host, self._caller.namespace)
        if service is None or not exported(service.namespace, service.export_to).covers(self._caller.namespace):
            return None
        return self._registry.concrete(self._fetch, service) or service

    def _is_safe(self, service: Service, location: KeyLocation) -> bool:
        """https asks for TLS, which a cluster of the registry has only where a rule says so."""
        if not location.tls:
            return True
        traffic = self._rules.policy(self._fetch, service.host, self._caller).policy(location.port)
        return keyserver.originates_tls(traffic)


class WantedKeys:
    """What the control plane asks for: (namespace of who wants it, URI)."""

    def __init__(
        self,
        store: Store,
        inputs: Inputs,
        registry: Registry,
        rules: Rules,
        policies: Collection[Key, RequestAuthentication],
    ) -> None:
        self._inputs = inputs
        self._registry = registry
        self._rules = rules
        by_policy = store.expand("KeysOfPolicies", policies, self._of_policy)
        index = store.index("KeysByPlace", by_policy, lambda key, _: ((key[0][0], key[1]),))
        self.all: Collection[WantedKey, bool] = store.keys("WantedKeys", index)
        store.output(self.all)

    def _of_policy(self, fetch: Fetch, key: Key, policy: RequestAuthentication) -> Mapping[tuple[Key, str], bool]:
        servers = KnownServers(fetch, self._inputs, self._registry, self._rules, Caller(key[0]))
        return {(key, uri): True for uri in mesh_tokens.fetched_uris(policy, servers)}


class KeyClusters:
    """The clusters made for keys alone, keyed by (layer, name)."""

    def __init__(self, store: Store, inputs: Inputs, listeners: tuple[Collection[NamedKey, Resource], ...]) -> None:
        self._inputs = inputs
        self._asking = [store.index(f"{one.name}ByKeyServer", one, _key_servers) for one in listeners]
        asked = (store.keys(f"{one.name}Names", one) for one in self._asking)
        self.clusters = store.expand("KeyClusters", store.union("KeyServersAsked", *asked), self._cluster)

    def _cluster(self, fetch: Fetch, key: NamedKey, _: object) -> Named:
        askers = {
            origin
            for index in self._asking
            for _, listener in fetch.values(index, key)
            for origin in listener.origins
            if origin.ref.kind == RequestAuthentication.KIND
        }
        settings = settings_of(fetch, self._inputs)
        cluster = keyserver.cluster(key[1], tuple(sorted(askers)), settings)
        return {key: envoy_cluster.encode(cluster, settings)}


def _key_servers(key: NamedKey, listener: Resource) -> Iterable[NamedKey]:
    named = (ref.name for ref in listener.refs if ref.type_url == types.CLUSTER)
    return {(key[0], name) for name in named if name.startswith(names.KEY_SERVER)}
