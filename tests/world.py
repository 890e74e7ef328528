"""A mesh in a test: manifests in, answers to calls out, as a person would ask."""

from collections.abc import Mapping
from typing import Any
from zlib import crc32

import yaml

from controlplane.compile.graph import Graph
from controlplane.explain import Address, Call, Outcome, simulate
from controlplane.explain import decode as decode_resources
from controlplane.model.decode import decode
from controlplane.model.meta import ref_of
from controlplane.model.problem import ObjectRef, Problem
from controlplane.model.proxy import InterceptionMode, Locality, Proxy, ProxyType
from controlplane.model.settings import Settings
from controlplane.snapshot import types
from controlplane.snapshot.resource import Resource
from controlplane.store import Change

ALL_HERE = Settings(refuse_local_endpoints=False)  # what stands for services in tests stands on this machine
VIRTUAL_OUTBOUND = Address("0.0.0.0", 15001)
VIRTUAL_INBOUND = Address("0.0.0.0", 15006)


class World:
    """A graph without a server."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.graph = Graph(settings or ALL_HERE)
        self.decoding: dict[ObjectRef, tuple[Problem, ...]] = {}
        self._proxies = 0

    def apply(self, manifests: str) -> "World":
        """Apply YAML documents, as `kubectl apply` would."""
        objects: dict[ObjectRef, Any] = {}
        for document in yaml.safe_load_all(manifests):
            decoded = decode(document)
            assert decoded.value is not None, decoded.problems
            value: Any = decoded.value
            objects[ref_of(value)] = value
            self.decoding[ref_of(value)] = decoded.problems
        return self.change(objects)

    def change(self, objects: Mapping[ObjectRef, Any]) -> "World":
        """Apply values; None deletes."""
        revision = self.graph.store.apply(self.graph.changes_of(objects))
        assert not revision.failures, revision.failures
        return self

    def delete(self, kind: str, name: str, namespace: str = "default") -> "World":
        """Delete one object of a kind."""
        groups = {"Service": "", "Pod": "", "Secret": "", "EndpointSlice": "discovery.k8s.io"}
        ref = ObjectRef(groups.get(kind, "networking.istio.io"), kind, namespace, name)
        return self.change({ref: None})

    def problems(self, *codes: str) -> list[Problem]:
        """What is reported now, decoding apart; of these codes only, if any are given."""
        found = {problem for _, _, many in self.graph.store.reports() for problem in many}
        return sorted(problem for problem in found if not codes or problem.code in codes)

    def sidecar(self, namespace: str = "default", **fields: Any) -> "Client":
        """A connected sidecar."""
        return self._connect(ProxyType.SIDECAR, namespace, fields)

    def gateway(self, namespace: str = "istio-ingress", **fields: Any) -> "Client":
        """A connected gateway; `istio: ingressgateway` unless it says otherwise."""
        fields.setdefault("labels", {"istio": "ingressgateway"})
        return self._connect(ProxyType.ROUTER, namespace, fields)

    def _connect(self, kind: ProxyType, namespace: str, fields: dict[str, Any]) -> "Client":
        self._proxies += 1
        connection = str(self._proxies)
        name = fields.pop("name", f"proxy-{connection}")
        fields.setdefault("ips", (f"10.250.0.{self._proxies}",))
        fields.setdefault("interception", InterceptionMode.REDIRECT)
        if "locality" in fields:
            fields["locality"] = Locality.parse(fields["locality"])
        proxy = Proxy(
            id=f"{kind.value}~{fields['ips'][0]}~{name}.{namespace}~{namespace}.svc.cluster.local",
            type=kind,
            namespace=namespace,
            name=name,
            **fields,
        )
        revision = self.graph.store.apply([Change(self.graph.inputs.proxies, connection, proxy)])
        assert not revision.failures, revision.failures
        return Client(self, connection, proxy)


class Client:
    """One proxy's eyes."""

    def __init__(self, world: World, connection: str, proxy: Proxy) -> None:
        self._world = world
        self.connection = connection
        self.proxy = proxy

    @property
    def view(self):
        scope = self._world.graph.scope(self.connection)
        assert scope is not None
        return self._world.graph.proxy_view(scope, self._world.graph.shared_view(scope))

    def resources(self) -> list[Resource]:
        view = self.view
        found = (view.get(type_url, name) for type_url in types.PUSH_ORDER for name in view.names(type_url))
        return [resource for resource in found if resource is not None]

    def names(self, type_url: str) -> list[str]:
        return list(self.view.names(type_url))

    def disconnect(self) -> None:
        self._world.graph.store.apply([Change(self._world.graph.inputs.proxies, self.connection, None)])

    def simulate(self, call: Call) -> Outcome:
        resources, origins = decode_resources(self.resources())
        return simulate(resources, call, origins)

    def call(self, authority: str, *, to: str = "192.0.2.1", port: int = 80, **fields: Any) -> Outcome:
        """An HTTP request that the application sends, captured on its way out."""
        fields["headers"] = tuple(dict(fields.get("headers", {})).items())
        call = Call(address=Address(to, port), captured_at=VIRTUAL_OUTBOUND, authority=authority, **fields)
        return self.simulate(call)

    def enter(self, authority: str, *, port: int = 80, **fields: Any) -> Outcome:
        """An HTTP request that comes in at a gateway."""
        fields["headers"] = tuple(dict(fields.get("headers", {})).items())
        return self.simulate(Call(address=Address("0.0.0.0", port), authority=authority, **fields))


def shares(outcome: Outcome) -> dict[str, int]:
    """subset (or host, where there is none) -> weight of where a call may go."""
    found: dict[str, int] = {}
    for destination in outcome.destinations:
        _, _, subset, host = destination.cluster.split("|")
        found[subset or host] = found.get(subset or host, 0) + destination.weight
    return found


def service(name: str, namespace: str = "default", *, port: int = 80, port_name: str = "http", **spec: Any) -> str:
    """A Service with one endpoint slice of two Pods, v1 and v2."""
    number = crc32(f"{namespace}/{name}".encode()) % 250
    spec.setdefault("clusterIP", f"10.96.{number}.{len(name)}")
    documents: list[dict[str, Any]] = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "ports": [{"name": port_name, "port": port, "targetPort": 8080}],
                "selector": {"app": name},
                **spec,
            },
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"{name}-1", "namespace": namespace, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"name": port_name, "port": 8080}],
            "endpoints": [
                {
                    "addresses": [f"10.1.{number}.{version}"],
                    "targetRef": {"kind": "Pod", "name": f"{name}-v{version}", "namespace": namespace},
                }
                for version in (1, 2)
            ],
        },
    ]
    documents += [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{name}-v{version}",
                "namespace": namespace,
                "labels": {"app": name, "version": f"v{version}"},
            },
            "status": {"podIP": f"10.1.{number}.{version}", "phase": "Running"},
        }
        for version in (1, 2)
    ]
    return yaml.safe_dump_all(documents)
