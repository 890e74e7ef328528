"""Nothing is silent: every field of every kind changes what proxies get, or a problem speaks of it.

For each field there is a line in `fields/`. The object is compiled with the field and without it (or with another
value); bytes of some proxy's resources must differ, or a problem at the field must be new. A list of exceptions, each
with its reason, says which fields are read by something else than the compiler. Fields without a line fail the test,
so a field added to the model needs either an effect or an answer.
"""

import re  # noqa: TID251  (our own patterns, in a test)
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import yaml
from msgspec import inspect

from controlplane.compile.inputs import SETTINGS_KEY
from controlplane.model.decode import decode
from controlplane.model.kinds import BY_NAME
from controlplane.model.meshconfig import decode_settings
from controlplane.model.meta import ref_of
from controlplane.model.problem import Problem
from controlplane.model.proxy import InterceptionMode
from controlplane.model.settings import Settings
from controlplane.store import Change
from tests.world import World

HERE = Path(__file__).parent / "fields"
MESH = "networking.istio.io"
GROUPS = {
    "Service": ("", "v1"),
    "Ingress": ("networking.k8s.io", "v1"),
    "IngressClass": ("networking.k8s.io", "v1"),
    "Pod": ("", "v1"),
    "EndpointSlice": ("discovery.k8s.io", "v1"),
    "AuthorizationPolicy": ("security.istio.io", "v1"),
    "RequestAuthentication": ("security.istio.io", "v1"),
    "PeerAuthentication": ("security.istio.io", "v1"),
}
# Proxies have identities, as in every mesh but those of hand-started Envoys.
USUAL = {"workloadCertificates": True}

# Fields that are no business of the compiler, by kind and pattern, with the reason.
EXCEPT: dict[str, dict[str, str]] = {
    "Gateway": {r"servers\[\]\.name": "a label for people"},
    "Sidecar": {r"ingress\[\]\.port\.name": "a label for people"},
    "Settings": {r"jwksAllowedNetworks": "where the control plane may ask for keys; read by what asks"},
    "Service": {
        r"ports\[\]\.nodePort": "where the nodes listen; kube-proxy's",
        r"externalIPs": "read for the status of Ingresses",
    },
    "EndpointSlice": {
        r"endpoints\[\]\.hostname": "the DNS's",
        r"ports\[\]\.appProtocol": "a copy of the Service's, which is read there",
        r"metadata\.(annotations|creationTimestamp|deletionTimestamp|uid|resourceVersion|generation|owner.*)": "of the platform",
        r"metadata\.(name|namespace)": "the object's key",
    },
    "Pod": {
        r"spec\.(init)?[cC]ontainers\[\]\.(name|image|command|args|workingDir|env.*|restartPolicy)": "of `lateen up`",
        r"spec\.(hostname|subdomain)": "the DNS's",
        r"spec\.hostNetwork": "its address is the node's, and says so itself",
        r"status\.hostIP": "read for the status of Ingresses",
        r"metadata\.(annotations|creationTimestamp|uid|resourceVersion|generation|owner.*)": "of the platform",
        r"metadata\.(name|namespace)": "the object's key",
    },
}

CONTEXT = """
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec:
  clusterIP: 10.96.0.1
  selector: {app: reviews}
  ports:
  - {name: http, port: 9080}
  - {name: tcp-db, port: 9000, targetPort: named}
  - {name: tls-x, port: 9443}
---
apiVersion: v1
kind: Service
metadata: {name: ratings, namespace: default}
spec: {clusterIP: 10.96.0.2, selector: {app: ratings}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: extra, namespace: default}
spec: {clusterIP: 10.96.5.5, ports: [{name: http, port: 5050, targetPort: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: far, namespace: other}
spec: {clusterIP: 10.96.0.3, selector: {app: far}, ports: [{name: http, port: 9080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews-1, namespace: default, labels: {kubernetes.io/service-name: reviews}}
addressType: IPv4
ports: [{name: http, port: 9080}, {name: tcp-db, port: 9000}, {name: tls-x, port: 9443}]
endpoints:
- {addresses: [10.1.0.1], nodeName: n1, targetRef: {kind: Pod, name: reviews-v1}}
- {addresses: [10.1.0.2], nodeName: n2, targetRef: {kind: Pod, name: reviews-v2}}
- {addresses: [127.0.0.9], conditions: {ready: false}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: subject-1, namespace: default, labels: {kubernetes.io/service-name: subject}}
addressType: IPv4
ports: [{name: http, port: 9080}, {name: tcp, port: 9000}]
endpoints:
- {addresses: [10.1.0.1], nodeName: n1, targetRef: {kind: Pod, name: reviews-v1}}
- {addresses: [10.1.0.2], nodeName: n2, targetRef: {kind: Pod, name: reviews-v2}}
- {addresses: [10.1.0.3], nodeName: n2, conditions: {ready: false}}
---
apiVersion: v1
kind: Pod
metadata: {name: reviews-v1, namespace: default, labels: {app: reviews, version: v1, security.istio.io/tlsMode: istio}}
spec: {nodeName: n1, containers: [{ports: [{name: named, containerPort: 9000}, {name: second, containerPort: 9280}]}]}
status: {podIP: 10.1.0.1, phase: Running, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: reviews-v2, namespace: default, labels: {app: reviews, version: v2}}
spec: {nodeName: n2, containers: [{ports: [{name: named, containerPort: 9000}]}]}
status: {podIP: 10.1.0.2, phase: Running, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: "1"}}
---
apiVersion: v1
kind: Node
metadata: {name: n2, labels: {topology.kubernetes.io/region: us, topology.kubernetes.io/zone: "1"}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: machine, namespace: default}
spec: {address: 10.8.0.1, labels: {app: vm}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: inner, namespace: other}
spec: {http: [{match: [{uri: {prefix: /a/b}}], directResponse: {status: 204}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: inner, namespace: default}
spec: {http: [{match: [{uri: {prefix: /a/c}}], directResponse: {status: 204}}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}
  - {port: {number: 9444, name: tls, protocol: TLS}, hosts: ['*'], tls: {mode: PASSTHROUGH}}
  - {port: {number: 9000, name: tcp, protocol: TCP}, hosts: ['*']}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: default}
spec:
  hosts: [shop.example.com]
  gateways: [edge, subject]
  http: [{match: [{port: 8080}, {port: 443}, {port: 8081}], route: [{destination: {host: reviews, port: {number: 9080}}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: theirs, namespace: other}
spec: {hosts: [ratings.default.svc.cluster.local], http: [{match: [{uri: {prefix: /theirs}}], directResponse: {status: 204}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: theirs, namespace: other}
spec: {host: ratings.default.svc.cluster.local, trafficPolicy: {tls: {mode: SIMPLE}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: resolved, namespace: default}
spec: {hosts: [resolved.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: here, namespace: default}
spec: {hosts: [here.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, endpoints: [{address: 127.0.0.8}]}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: other}
spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}
"""


class Case(NamedTuple):
    """A field, and the two documents to compare."""

    kind: str
    line: dict[str, Any]
    before: dict[str, Any]
    after: dict[str, Any]
    context: str

    @property
    def at(self) -> str:
        """The field's path in the document."""
        return str(self.line["at"])

    def __repr__(self) -> str:
        return f"{self.kind}.{self.at}={str(self.line['is'])[:24]}"


# Reading the lines


@cache
def _lines(name: str) -> Any:
    return yaml.safe_load((HERE / f"{name}.yaml").read_text())


KINDS = sorted(path.stem for path in HERE.glob("*.yaml") if path.stem != "blocks")


def cases() -> Iterator[Case]:
    for kind in KINDS:
        written = _lines(kind)
        root = "spec" if "spec" in written else ""
        base = {"spec": written["spec"]} if root else written.get("document", {})
        for line in _expanded(written):
            yield _case(kind, line, base, root, written)


def _expanded(written: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from written.get("cases", ())
    blocks = _lines("blocks")
    for where, block in written.get("blocks", {}).items():
        around = {path: value for path, value in written.get("given", {}).items() if where.startswith(path)}
        beside = where.rpartition(".")[0]
        for line in blocks[block]:
            given = {f"{where}.{path}": value for path, value in line.get("given", {}).items()}
            given |= {f"{beside}.{path}": value for path, value in line.get("beside", {}).items()}
            yield {**line, "at": f"{where}.{line['at']}", "given": around | given}


def _case(kind: str, line: dict[str, Any], base: dict[str, Any], root: str, written: dict[str, Any]) -> Case:
    before = deepcopy(base)
    prefix = f"{root}." if root else ""
    for path, value in line.get("given", {}).items():
        put(before, prefix + path, value)
    at = prefix + line["at"]
    parent = re.sub(r"(\.[^.\[\]{}]+|\[\d+\]|\{[^}]*\})$", "", at)
    if parent != at and get(before, parent) is None:
        put(before, parent, {})
    if "was" in line:
        put(before, at, line["was"])
    after = deepcopy(before)
    put(after, at, line["is"])
    context = written.get("contexts", {}).get(line.get("context"), "") + "\n---\n" + written.get("context", "")
    return Case(kind, {**line, "at": at}, before, after, context)


STEP = re.compile(r"\{([^}]*)\}|\[(\d+)\]|([^.\[\]{}]+)")


def _steps(path: str) -> list[str | int]:
    return [int(index) if index else key or name for key, index, name in STEP.findall(path)]


def get(document: Any, path: str) -> Any:
    for step in _steps(path):
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            return None
    return document


def put(document: Any, path: str, value: Any) -> None:
    """Set a field, making what is above it; None removes it."""
    *above, last = _steps(path)
    for step, following in zip(above, _steps(path)[1:], strict=True):
        if get_step(document, step) is None:
            set_step(document, step, [] if isinstance(following, int) else {})
        document = document[step]
    if value is None:
        document.pop(last, None) if isinstance(document, dict) else document.pop(last)
    else:
        set_step(document, last, deepcopy(value))


def get_step(document: Any, step: str | int) -> Any:
    if isinstance(step, int):
        return document[step] if step < len(document) else None
    return document.get(step)


def set_step(document: Any, step: str | int, value: Any) -> None:
    if isinstance(step, int) and step == len(document):
        document.append(value)
    else:
        document[step] = value


# What proxies see of a document


class Seen(NamedTuple):
    resources: dict[tuple[str, str, str], bytes]
    problems: frozenset[Problem]


def ground(context: str) -> tuple[World, list[Any]]:
    world = World(decode_settings(USUAL)[0]).apply(CONTEXT)
    if context.strip(" -\n"):
        world.apply("---\n".join(part for part in context.split("---\n") if part.strip()))
    front = {"app": "front", "version": "v1"}
    clients = [
        world.sidecar(labels=front, locality="eu/1", node_name="n1"),
        world.sidecar(labels={"app": "back"}, locality="ap/1", node_name="n3"),
        world.sidecar("other", labels={"app": "front"}, locality="us/1"),
        world.sidecar(name="reviews-v1", ips=("10.1.0.1",)),
        world.sidecar(name="reviews-v2", ips=("10.1.0.2",), interception=InterceptionMode.NONE),
        world.gateway("default", locality="eu/1"),
        world.gateway("istio-ingress"),
    ]
    return world, clients


@cache
def stage(kind: str, context: str) -> tuple[World, list[Any]]:
    """A world for all cases of a kind that ask for the same: they come and go one by one."""
    return ground(context)


def look(case: Case, document: dict[str, Any]) -> Seen:
    with shown(case, document) as (world, clients, found):
        return _seen(world, clients, found)


@contextmanager
def shown(case: Case, document: dict[str, Any]) -> Iterator[tuple[World, list[Any], tuple[Problem, ...]]]:
    """A world with this document, its proxies, and what decoding the document said."""
    world, clients = stage(case.kind, case.context)
    inputs = world.graph.inputs
    if case.kind == "Settings":
        settings, found = decode_settings({**USUAL, **document})
        _apply(world, [Change(inputs.settings, SETTINGS_KEY, settings)])
        try:
            yield world, clients, found
        finally:
            _apply(world, [Change(inputs.settings, SETTINGS_KEY, decode_settings(USUAL)[0])])
        return
    group, version = GROUPS.get(case.kind, (MESH, "v1"))
    metadata = {"name": "subject", "namespace": "default", **document.get("metadata", {})}
    whole = {**document, "apiVersion": f"{group}/{version}".lstrip("/"), "kind": case.kind, "metadata": metadata}
    decoded: Any = decode(deepcopy(whole))
    assert decoded.value is not None, decoded.problems
    ref = ref_of(decoded.value)
    collection: Any = inputs.of(group, case.kind)
    before = world.graph.store.get(collection, (ref.namespace, ref.name))
    world.change({ref: decoded.value})
    try:
        yield world, clients, decoded.problems
    finally:
        world.change({ref: before})


def _apply(world: World, changes: list[Change[Any, Any]]) -> None:
    revision = world.graph.store.apply(changes)
    assert not revision.failures, revision.failures


def _seen(world: World, clients: list[Any], problems: tuple[Problem, ...]) -> Seen:
    resources = {
        (client.connection, resource.type_url, resource.name): resource.body
        for client in clients
        for resource in client.resources()
    }
    return Seen(resources, frozenset((*problems, *world.problems())))


SETTLED = {
    "FieldNotSupportedYet",
    "NotSupportedYet",
    "NoEffect",
    "ConflictingFields",
}  # said once of a block, it holds for all of it


def says_so(case: Case, before: Seen, after: Seen) -> bool:
    """Whether a problem speaks of the field: a new one, or one of a block around it that has no effect as a whole."""
    new = after.problems - before.problems
    asked = re.sub(r"\{([^}]*)\}", r"[\1]", case.at)
    return any(
        (problem in new and problem.origin.path.startswith(asked))
        or (problem in new and _around(problem.origin.path, asked))
        or (problem.code in SETTLED and _around(problem.origin.path, asked))
        for problem in after.problems
    )


def _around(path: str, asked: str) -> bool:
    return path.count(".") > 0 and (asked == path or asked.startswith((f"{path}.", f"{path}[")))


@pytest.mark.parametrize("case", [*cases()], ids=repr)
def test_it_makes_a_difference_or_is_spoken_of(case):
    before, after = look(case, case.before), look(case, case.after)
    assert before.resources != after.resources or says_so(case, before, after)


# Every field has a line


def leaves(described: Any, path: str = "") -> Iterator[str]:
    """Paths of a type: "http[].match[].headers{}.exact"."""
    if isinstance(described, inspect.UnionType):
        for one in described.types:
            yield from leaves(one, path)
    elif isinstance(described, inspect.VarTupleType):
        yield from leaves(described.item_type, f"{path}[]")
    elif isinstance(described, inspect.StructType):
        for field in described.fields:
            if not (isinstance(field.type, inspect.CustomType) and field.type.cls.__name__ == "Mark"):
                yield from leaves(field.type, f"{path}.{field.encode_name}".lstrip("."))
    elif isinstance(described, inspect.DictType) and isinstance(described.value_type, inspect.StructType):
        yield from leaves(described.value_type, f"{path}{{}}")
    elif not isinstance(described, inspect.NoneType):
        yield path.removesuffix("[]")


def type_of(kind: str) -> Any:
    if kind == "Settings":
        return Settings
    group, _ = GROUPS.get(kind, (MESH, "v1"))
    found: Any = BY_NAME[group, kind].type
    if "spec" not in _lines(kind):
        return found
    return next(field.type for field in msgspec.structs.fields(found) if field.name == "spec")


def pattern_of(at: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", re.sub(r"\[\d+\]", "[]", at))


@pytest.mark.parametrize("kind", KINDS)
def test_no_field_is_without_a_line(kind):
    asked = {
        pattern_of(case.at).removeprefix("spec." if "spec" in _lines(kind) else "")
        for case in cases()
        if case.kind == kind
    }
    fields = set(leaves(inspect.type_info(type_of(kind))))
    excepted = {one for one in fields for pattern in EXCEPT.get(kind, ()) if re.fullmatch(pattern, one)}
    assert fields - asked - excepted == set()


def test_all_mesh_kinds_are_here():
    mesh = {kind for (group, kind), known in BY_NAME.items() if known.mesh and group == MESH}
    assert mesh <= set(KINDS)


# Every value of an enum has one, too

DEFAULTS = {
    "UNSPECIFIED",
    "DEFAULT",
    "TLS_AUTO",
    "UNSET",
    "FROM_PROTOCOL_DEFAULT",
    "FORWARD",  # unmatchedPreflights
    "DISABLE",
    "V1",
    "LEAST_REQUEST",
    "MESH_EXTERNAL",
    "ALLOW_ANY",
    "OWNER",
    "TEXT",
    "BASE",  # what DEFAULT means
    "OPTIONAL",
    "ENVOY",
}


def enums(described: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, member) of every enum a type holds."""
    if isinstance(described, inspect.UnionType):
        for one in described.types:
            yield from enums(one, path)
    elif isinstance(described, inspect.VarTupleType):
        yield from enums(described.item_type, f"{path}[]")
    elif isinstance(described, inspect.StructType):
        for field in described.fields:
            yield from enums(field.type, f"{path}.{field.encode_name}".lstrip("."))
    elif isinstance(described, inspect.EnumType):
        yield from ((path, member) for member in described.cls)


@pytest.mark.parametrize("kind", KINDS)
def test_no_value_of_an_enum_is_without_a_line(kind):
    root = "spec." if "spec" in _lines(kind) else ""
    known = {
        (pattern_of(case.at).removeprefix(root), value)
        for case in cases()
        if case.kind == kind
        for value in (case.line["is"], case.line.get("was"))
        if isinstance(value, str)
    }
    every = {
        (path, str(member))
        for path, member in enums(inspect.type_info(type_of(kind)))
        if member.name not in DEFAULTS and member not in DEFAULTS
        if not any(re.fullmatch(pattern, path) for pattern in EXCEPT.get(kind, ()))
    }
    assert every - known == set()
