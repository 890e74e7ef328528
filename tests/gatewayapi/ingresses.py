"""Ingresses for tests, and what their gateway does with a request."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import yaml

from controlplane.explain import Outcome
from controlplane.explain.call import Tls
from controlplane.model.decode import decode
from controlplane.model.settings import Settings
from tests.tls import signed
from tests.world import Client, World, service, shares

GATEWAYS = "lateen-system"  # where the gateway runs
HTTPS = 443


class Path(NamedTuple):
    """One path of a rule, to port 80 of a Service."""

    path: str
    to: str
    type: str = "Prefix"

    def written(self) -> dict[str, Any]:
        return {"path": self.path, "pathType": self.type, "backend": backend(self.to)}


def backend(name: str, /, **port: Any) -> dict[str, Any]:
    return {"service": {"name": name, "port": port or {"number": 80}}}


def rule(host: str | None, *paths: Path) -> dict[str, Any]:
    named = {} if host is None else {"host": host}
    return {**named, "http": {"paths": [one.written() for one in paths]}}


def document(name: str = "web", namespace: str = "default", *, age: int | None = None, **spec: Any) -> dict[str, Any]:
    """`age`: seconds since some beginning, at which it was made; files have none."""
    meta: dict[str, Any] = {"name": name, "namespace": namespace, "annotations": spec.pop("annotations", {})}
    if age is not None:
        meta["creationTimestamp"] = datetime.fromtimestamp(1_700_000_000 + age, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta, "spec": spec}


def ingress(name: str = "web", namespace: str = "default", *, age: int | None = None, **spec: Any) -> dict[str, Any]:
    return document(name, namespace, age=age, **{"ingressClassName": "lateen", **spec})


def ingress_class(name: str, controller: str, *, default: bool = False, **spec: Any) -> dict[str, Any]:
    annotations = {"ingressclass.kubernetes.io/is-default-class": "true"} if default else {}
    meta = {"name": name, "annotations": annotations}
    spec = {"controller": controller, **spec}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": meta, "spec": spec}


def value(written: dict[str, Any]) -> Any:
    return decode(written).value


class Gate:
    """A world with one ingress gateway. Services are there as soon as an Ingress leads to them, but for `missing`."""

    def __init__(self, *written: dict[str, Any], settings: Settings | None = None) -> None:
        self.world = World(settings)
        self.gateway: Client = self.world.gateway(GATEWAYS)
        self.apply(*written)

    def apply(self, *written: dict[str, Any]) -> "Gate":
        names = {(one["metadata"].get("namespace", ""), name) for one in written for name in _services(one)}
        for namespace, name in sorted(names):
            self.world.apply(service(name, namespace))
        for one in written:
            self.world.apply(yaml.safe_dump(one))
        return self

    def secret(self, name: str, namespace: str = GATEWAYS) -> "Gate":
        leaf = signed(name, signed("root"))
        data = {"tls.crt": leaf.pem.decode(), "tls.key": leaf.key_pem.decode()}
        meta = {"name": name, "namespace": namespace}
        return self.apply({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": data})

    def ask(self, host: str, path: str = "/", *, tls: str | None = None) -> Outcome:
        """`tls`: the name asked for in the hello."""
        if tls is None:
            return self.gateway.enter(host, path=path)
        return self.gateway.enter(host, path=path, port=HTTPS, tls=Tls(sni=tls))

    def to(self, host: str, path: str = "/", *, tls: str | None = None) -> str:
        """The Service a request ends at, or the status it is answered with."""
        outcome = self.ask(host, path, tls=tls)
        if outcome.status:
            return str(outcome.status)
        return next((name.partition(".")[0] for name in shares(outcome)), outcome.verdict.value)

    def told(self, *codes: str) -> list[tuple[str, str, str]]:
        """(code, object, field) of what is reported."""
        return [(one.code, str(one.origin.ref), one.origin.path) for one in self.world.problems(*codes)]


def _services(written: Any) -> list[str]:
    """The names of all Services that a document leads to, in any part of it."""
    if isinstance(written, list):
        return [name for one in written for name in _services(one)]
    if not isinstance(written, dict):
        return []
    own = written.get("service")
    names = [own["name"]] if isinstance(own, dict) and own["name"] != "missing" else []
    return names + [name for one in written.values() for name in _services(one)]
