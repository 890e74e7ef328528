"""Ingresses: which are ours, and what each says, before any gateway is asked.

Hosts are kept one by one, so that a path or a backend that changes touches the virtual hosts of its host and nothing
else; servers are kept apart from them, because a listener holds those of all Ingresses.
"""

from collections.abc import Mapping

from controlplane.compile.inputs import Inputs, Key, settings_of
from controlplane.gatewayapi import ingress as front
from controlplane.gatewayapi.ingress import Controller, HostRules, IngressRules
from controlplane.mesh.gateways.server import Server
from controlplane.model.ingress import Ingress, IngressClass
from controlplane.store import Fetch, Store

HostKey = tuple[str, str, str]  # (host, namespace, name)


class Ingresses:
    """Collections of what Ingresses of ours say."""

    def __init__(self, store: Store, inputs: Inputs) -> None:
        self._inputs = inputs
        self._classes = store.derive("IngressClasses", inputs.ingress_classes, _class)
        self._defaults = store.index(
            "DefaultIngressClasses", self._classes, lambda _, found: ((),) if found.is_default else ()
        )
        self.controllers = store.derive("IngressControllers", inputs.ingresses, self._controller)
        rules = store.derive("IngressRules", inputs.ingresses, self._rules)
        self.hosts = store.expand("IngressHosts", rules, _hosts)
        self.every_host = store.index("EveryIngressHost", self.hosts, lambda _, __: ((),))
        self._tls = store.index(
            "EveryIngressServer", store.derive("IngressServers", rules, _servers), lambda _, __: ((),)
        )
        self._any = store.query("AnyIngress", self._is_any)
        self._all_servers = store.query("AllIngressServers", self._servers)

    def servers(self, fetch: Fetch) -> tuple[Server, ...]:
        """What gateways open for Ingresses, oldest first; nothing as long as there is none."""
        return fetch(self._all_servers, ()) or ()

    def _controller(self, fetch: Fetch, _: Key, ingress: Ingress) -> Controller | None:
        name = ingress.spec.ingress_class_name
        named = fetch(self._classes, ("", name)) if name else None
        defaults = [found for _, found in fetch.values(self._defaults, ())] if not name else []
        found, problems = front.controller(ingress, named, defaults, settings_of(fetch, self._inputs))
        fetch.report(*problems)
        return found

    def _rules(self, fetch: Fetch, key: Key, ingress: Ingress) -> IngressRules | None:
        whose = fetch(self.controllers, key)
        if whose is None:
            return None
        rules, problems = front.read(ingress, whose)
        fetch.report(*problems)
        return rules

    def _is_any(self, fetch: Fetch, _: tuple[()]) -> bool:
        return bool(fetch.keys(self.every_host, ()))

    def _servers(self, fetch: Fetch, _: tuple[()]) -> tuple[Server, ...]:
        if not fetch(self._any, ()):
            return ()
        found = [server for _, some in fetch.values(self._tls, ()) for server in some]
        return (*sorted(found, key=lambda server: (server.age, server.key)), front.plain_server())


def _class(fetch: Fetch, _: Key, found: IngressClass) -> IngressClass:
    fetch.report(*front.ineffective_parameters(found))
    return found


def _hosts(_: Fetch, key: Key, rules: IngressRules) -> Mapping[HostKey, HostRules]:
    return {(one.host, *key): one for one in rules.hosts}


def _servers(_: Fetch, __: Key, rules: IngressRules) -> tuple[Server, ...] | None:
    return rules.servers or None
