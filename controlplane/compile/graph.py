"""The wiring, from model to snapshot, as a list that reads aloud."""

from collections.abc import Iterable, Mapping
from typing import Any

from controlplane.compile.gateways import Gateways
from controlplane.compile.ingresses import Ingresses
from controlplane.compile.inputs import SETTINGS_KEY, Inputs
from controlplane.compile.keyservers import KeyClusters, WantedKeys
from controlplane.compile.members import Members
from controlplane.compile.mesh_layer import MeshLayer
from controlplane.compile.outbound import Outbound
from controlplane.compile.peers import Peers
from controlplane.compile.places import Places
from controlplane.compile.policies import Policies
from controlplane.compile.proxies import Inbound, Scope, Scopes
from controlplane.compile.reached import Reached
from controlplane.compile.registry import Registry
from controlplane.compile.rules import Rules
from controlplane.compile.secrets import End, Secrets
from controlplane.compile.view import LayeredView, Outputs, ProxyView
from controlplane.mesh.vouching import Impostor
from controlplane.model.settings import Settings
from controlplane.snapshot import types
from controlplane.store import Change, Store


class Graph:
    """Everything that is derived, in the order in which it is derived."""

    def __init__(self, settings: Settings) -> None:
        store = self.store = Store()
        inputs = self.inputs = Inputs(store)
        peers = Peers(store, inputs)  # who takes mutual TLS
        registry = self.registry = Registry(store, inputs, peers)  # who can be called
        rules = self.rules = Rules(store, inputs, registry)  # which rules act on whose calls
        places = self.places = Places(store, registry, rules)  # for which hosts it matters where a caller stands
        policies = Policies(store, inputs, registry, rules, peers)  # who may call whom
        self.wanted_keys = WantedKeys(store, inputs, registry, rules, policies.believing)  # what we ask issuers for
        scopes = self.scopes = Scopes(store, inputs, registry, rules, places, policies)  # the layers proxies see
        members = self.members = Members(store, inputs, registry, rules, places, scopes.layers)  # the hosts of each
        outbound = self.outbound = Outbound(store, inputs, registry, rules, places, members)
        inbound = self.inbound = Inbound(store, inputs, registry, scopes, members, outbound, policies)
        ingresses = self.ingresses = Ingresses(store, inputs)  # what Ingresses of ours say
        gateways = self.gateways = Gateways(
            store, inputs, registry, rules, outbound, policies, ingresses, scopes.layers
        )
        referring = (
            outbound.virtual_hosts,
            outbound.literals,
            outbound.catch_alls,
            outbound.explicit_catch_alls,
            outbound.explicit_listeners,
            outbound.vip_listeners,
            outbound.wildcard_listeners,
            inbound.listeners,
            gateways.virtual_hosts,
            gateways.listeners,
        )
        reached = Reached(store, inputs, registry, rules, members, outbound, places, scopes, referring)
        keys = KeyClusters(store, inputs, (inbound.listeners, gateways.listeners))  # who has the keys of issuers
        fixed = MeshLayer(store, inputs, scopes.layers)  # PassthroughCluster and its like
        asking = (
            outbound.clusters,
            reached.clusters,
            inbound.listeners,
            gateways.listeners,
        )
        secrets = self.secrets = Secrets(store, inputs, scopes, asking)  # what of all this asks for certificates
        self.outputs = Outputs(
            store,
            inputs,
            {
                types.CLUSTER: (outbound.clusters, inbound.clusters, reached.clusters, keys.clusters, fixed.clusters),
                types.ENDPOINT: (outbound.endpoints, reached.endpoints),
                types.SECRET: secrets.all,
                types.LISTENER: (  # where names meet the first wins: an explicit listener has its port to itself
                    outbound.explicit_listeners,
                    outbound.vip_listeners,
                    outbound.wildcard_listeners,
                    inbound.listeners,
                    gateways.listeners,
                ),
                types.ROUTE: (outbound.explicit_tables, outbound.tables, gateways.tables),
                types.VIRTUAL_HOST: (
                    outbound.virtual_hosts,
                    outbound.explicit_catch_alls,
                    outbound.catch_alls,
                    outbound.literals,
                    gateways.virtual_hosts,
                ),
            },
        )
        store.output(scopes.scopes)
        store.apply([Change(inputs.settings, SETTINGS_KEY, settings)])

    def scope(self, connection: str) -> Scope | None:
        """The layers of one connected proxy."""
        return self.store.get(self.scopes.scopes, connection)

    def certificate_ends(self) -> Iterable[End]:
        """When certificates end that come from Secrets."""
        return (end for _, end in self.store.items(self.secrets.ends))

    def refusal(self, connection: str) -> str:
        """Why a connected proxy has no scope."""
        found = self.store.get(self.scopes.vouching, connection)
        return found.why if isinstance(found, Impostor) else ""

    def shared_view(self, scope: Scope) -> LayeredView:
        """A new view of what all proxies of this scope see. Whoever serves many proxies keeps one a scope."""
        return LayeredView(self.outputs, scope.shared)

    def proxy_view(self, scope: Scope, shared: LayeredView) -> ProxyView:
        return ProxyView(shared, LayeredView(self.outputs, (scope.own,)))

    def changes_of(self, objects: Mapping[Any, Any]) -> list[Change[Any, Any]]:
        """Store changes for objects by reference, `None` for one that is gone; kinds of no use are skipped."""
        found: list[Change[Any, Any]] = []
        for ref, value in objects.items():
            collection = self.inputs.of(ref.group, ref.kind)
            if collection is not None:
                found.append(Change(collection, (ref.namespace, ref.name), value))
        return found
