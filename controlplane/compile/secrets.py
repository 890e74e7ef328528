"""Certificates and bundles: whatever a cluster or a listener asks for by name, and nothing else.

Those in files of the proxy's machine anybody may be told of; a proxy that has no such files waits for them alone. What
lies in Kubernetes Secrets goes to gateways only, read in the gateway's own namespace and nowhere else: a sidecar's
workload need not have the right to read it.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

import msgspec

from controlplane.compile.inputs import Inputs, Key
from controlplane.compile.outbound import Named, NamedKey
from controlplane.compile.proxies import Scopes
from controlplane.envoy import secret as envoy_secret
from controlplane.gatewayapi import ingress
from controlplane.ir import names
from controlplane.mesh import credential
from controlplane.mesh.credential import Credential
from controlplane.mesh.problems import ignored
from controlplane.model.gateway import Gateway
from controlplane.model.ingress import Ingress
from controlplane.model.problem import Origin
from controlplane.snapshot import types
from controlplane.snapshot.resource import Resource
from controlplane.store import Collection, Fetch, Index, Store

_CLIENT_RULE = "DestinationRule"


class Asked(msgspec.Struct, frozen=True):
    """What lies in a Secret, and the fields that name it."""

    credential: Credential
    askers: tuple[Origin, ...]


class End(msgspec.Struct, frozen=True):
    """When a certificate that is served ends, and whose it is."""

    at: datetime
    origins: tuple[Origin, ...]


class Secrets:
    """The secrets of each layer, keyed by (layer, name)."""

    def __init__(
        self, store: Store, inputs: Inputs, scopes: Scopes, asking: tuple[Collection[NamedKey, Resource], ...]
    ) -> None:
        self._inputs = inputs
        self._scopes = scopes
        self._asking: list[Index[NamedKey, NamedKey, Resource]] = [
            store.index(f"{one.name}BySecret", one, _secret_refs) for one in asking
        ]
        self._asked_by_ingresses = store.derive("IngressSecrets", inputs.ingresses, _asked_by_ingress)
        asked = store.union("SecretsAsked", *(store.keys(f"{one.name}Names", one) for one in self._asking))
        placed = store.expand("SecretsPlaced", asked, self._place)
        self._by_place = store.index("SecretsByPlace", placed, lambda key, _: (key[0],))
        names = store.keys("SecretNames", self._by_place)
        self._credentials = store.derive("Credentials", names, self._credential)
        in_files = store.expand("FileSecrets", names, self._of_files)
        in_kubernetes = store.expand("KubernetesSecrets", self._credentials, _encoded)
        self.all: tuple[Collection[NamedKey, Resource], ...] = (in_files, in_kubernetes)
        self.ends: Collection[NamedKey, End] = store.derive("CertificateEnds", self._credentials, _end)

    def _place(self, fetch: Fetch, key: NamedKey, _: object) -> Mapping[tuple[NamedKey, NamedKey], bool]:
        """Where a secret is held, and who asks: a name must not be a proxy's own and shared with others at once."""
        layer, name = key
        if layer.kind != "proxy":
            return {(key, key): True}
        scope = fetch(self._scopes.scopes, layer.proxy)
        return {} if scope is None else {((scope.shared[-1], name), key): True}

    def _wanted_by(self, fetch: Fetch, key: NamedKey) -> tuple[Origin, ...]:
        askers = [asker for _, asker in fetch.keys(self._by_place, key)]
        return tuple(
            sorted(
                {
                    origin
                    for index in self._asking
                    for asker in askers
                    for _, one in fetch.values(index, asker)
                    for origin in one.origins
                }
            )
        )

    def _of_files(self, fetch: Fetch, key: NamedKey, _: object) -> Named:
        if key[1].startswith(names.CREDENTIAL):
            return {}
        found = envoy_secret.of_files(key[1], self._wanted_by(fetch, key))
        return {} if found is None else {key: found}

    def _credential(self, fetch: Fetch, key: NamedKey, _: object) -> Asked | None:
        layer, name = key
        if not name.startswith(names.CREDENTIAL):
            return None
        wanted_by = self._wanted_by(fetch, key)
        if layer.kind != "gateway":
            text = "only gateways are given Secrets; calls from sidecars fail unless a rule of their own names files"
            rules = (origin for origin in wanted_by if origin.ref.kind == _CLIENT_RULE)
            fetch.report(*(ignored(rule.at("spec"), "SecretsAreForGateways", text) for rule in rules))
            return None
        found = {one: fetch(self._inputs.secrets, (layer.namespace, one)) for one in credential.secret_names(name)}
        secrets = {one: secret for one, secret in found.items() if secret is not None}
        askers = self._askers(fetch, name, wanted_by)
        value, problems = credential.credential(name, layer.namespace, secrets, askers)
        fetch.report(*problems)
        return None if value is None else Asked(value, askers)

    def _askers(self, fetch: Fetch, name: str, wanted_by: tuple[Origin, ...]) -> tuple[Origin, ...]:
        """Who is to be told: a listener has many origins, and most of them never asked for this Secret."""
        refs = dict.fromkeys(origin.ref for origin in wanted_by if origin.ref.kind == Gateway.KIND)
        found = (fetch(self._inputs.gateways, (ref.namespace, ref.name)) for ref in refs)
        servers = [origin for gateway in found if gateway is not None for origin in credential.asked_by(gateway, name)]
        rules = [origin for origin in wanted_by if origin.ref.kind == _CLIENT_RULE]
        return (*servers, *self._ingresses(fetch, name, wanted_by), *rules) or wanted_by

    def _ingresses(self, fetch: Fetch, name: str, wanted_by: tuple[Origin, ...]) -> Iterator[Origin]:
        refs = dict.fromkeys(origin.ref for origin in wanted_by if origin.ref.kind == Ingress.KIND)
        for ref in refs:
            asked = fetch(self._asked_by_ingresses, (ref.namespace, ref.name)) or {}
            yield from asked.get(name, ())


def _asked_by_ingress(_: Fetch, __: Key, found: Ingress) -> Mapping[str, tuple[Origin, ...]] | None:
    """Kept apart from what else it says: many may name one Secret, and their paths come and go."""
    return ingress.secrets_asked(found) or None


def _encoded(_: Fetch, key: NamedKey, asked: Asked) -> Named:
    value = asked.credential
    if value.bundle:
        return {key: envoy_secret.encode_bundle(key[1], value.bundle, value.revoked, (value.origin,))}
    return {key: envoy_secret.encode_certificate(key[1], value.chain, value.key, (value.origin,))}


def _end(_: Fetch, __: NamedKey, asked: Asked) -> End | None:
    value = asked.credential
    return None if value.ends is None else End(value.ends, (value.origin, *asked.askers))


def _secret_refs(key: NamedKey, resource: Resource) -> Iterable[NamedKey]:
    return {(key[0], ref.name) for ref in resource.refs if ref.type_url == types.SECRET} if resource.refs else ()
