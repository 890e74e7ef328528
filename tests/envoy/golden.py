"""Golden cases of this room: values of `ir` in YAML, Envoy configuration out.

A document may have `settings`, `clusters`, `assignments`, `tables`, `hosts` (by table), `listeners`, `certificates`,
`bundles` and `files` (names of secrets in files). Origins are short: "VirtualService default/reviews spec.http[0]".
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from controlplane.envoy import cluster, endpoint, listener, render, route, secret
from controlplane.ir.cluster import Assignment, Cluster
from controlplane.ir.listener import Listener, RouteTable
from controlplane.ir.route import VirtualHost
from controlplane.model.problem import ObjectRef, Origin
from controlplane.model.settings import Settings
from controlplane.snapshot.resource import Resource
from tests.golden.files import INPUT

_RULES = {"VirtualService", "DestinationRule", "Gateway", "ServiceEntry", "Sidecar"}
_SECURITY = {"PeerAuthentication", "RequestAuthentication", "AuthorizationPolicy"}


class Certificate(msgspec.Struct, frozen=True):
    name: str
    chain: str
    key: str


class Bundle(msgspec.Struct, frozen=True):
    name: str
    roots: str
    revoked: str = ""


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    settings: Settings = Settings()
    clusters: tuple[Cluster, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    tables: tuple[RouteTable, ...] = ()
    hosts: Mapping[str, tuple[VirtualHost, ...]] = {}
    listeners: tuple[Listener, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    bundles: tuple[Bundle, ...] = ()
    files: tuple[str, ...] = ()


def load(case: Path) -> tuple[Resource, ...]:
    """The resources that a case's input is encoded to."""
    document = msgspec.convert(_long_origins(yaml.safe_load((case / INPUT).read_text())), Document)
    return tuple(encode(document))


def encode(document: Document) -> Iterable[Resource]:
    for one in document.clusters:
        yield cluster.encode(one, document.settings)
    for assignment in document.assignments:
        yield endpoint.encode(assignment)
    for table in document.tables:
        yield route.encode_table(table)
    for name, hosts in document.hosts.items():
        yield from (route.encode_virtual_host(name, host) for host in hosts)
    for one_listener in document.listeners:
        yield listener.encode(one_listener, document.settings)
    for pair in document.certificates:
        yield secret.encode_certificate(pair.name, pair.chain.encode(), pair.key.encode())
    for bundle in document.bundles:
        yield secret.encode_bundle(bundle.name, bundle.roots.encode(), bundle.revoked.encode())
    for name in document.files:
        found = secret.of_files(name)
        assert found is not None, name
        yield found


def outputs(case: Path) -> dict[str, str]:
    """One file per kind of resource that there is, and the references among them."""
    resources = load(case)
    sections = {name: found for name, found in render.document(resources).items() if found}
    refs = {resource.name: [ref.name for ref in resource.refs] for resource in resources if resource.refs}
    if refs:
        sections["refs"] = refs  # type: ignore[assignment]
    return {f"{name}.yaml": yaml.safe_dump(found, sort_keys=True, width=120) for name, found in sections.items()}


def _long_origins(value: Any, key: str = "") -> Any:
    """`origins` of CORS are something else; ours are strings."""
    if isinstance(value, str) and key in ("origin", "origins"):
        return msgspec.to_builtins(_origin(value))
    if isinstance(value, list):
        return [_long_origins(item, key) for item in value]
    if isinstance(value, dict):
        return {name: _long_origins(item, name) for name, item in value.items()}
    return value


def _origin(short: str) -> Origin:
    kind, place, path = (*short.split(" ", 2), "")[:3]
    namespace, _, name = place.partition("/")
    group = "networking.istio.io" if kind in _RULES else "security.istio.io" if kind in _SECURITY else ""
    return Origin(ObjectRef(group, kind, namespace, name), path)
