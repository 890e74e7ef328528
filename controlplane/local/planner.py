"""(manifests, Lateenfile) -> plan. Pure."""

import difflib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import msgspec

from controlplane.local.addresses import AddressBook, PortBook
from controlplane.local.commands import Missing, PodFacts, process, service_variables
from controlplane.local.gateways import FIRST_ADDRESS, gateway_proxies, port_clashes
from controlplane.local.lateenfile import NAME, LateenFile
from controlplane.local.listening import container_ports, replica_ports, tcp_listeners, unknown_targets
from controlplane.local.manifests import (
    ENVOY_CONTAINERS,
    Container,
    Contents,
    Manifest,
    Probe,
    Service,
    Template,
    Workload,
    read_manifests,
)
from controlplane.local.objects import gateway_pod, pod_ref, replica_pod
from controlplane.local.plan import Inputs, Plan, ProcessSpec, ReadyCheck, Replica, ReplicaPort
from controlplane.local.sidecars import GROUP, declared_ingress, sidecar, users_spec, withheld
from controlplane.local.unheeded import NOT_RUN, unheeded
from controlplane.model.problem import Level, ObjectRef, Origin, Problem

MOST_REPLICAS: Final = 100  # of one workload; each has an Envoy of its own
_NO_PROBE = Probe(period_seconds=1.0)


def plan(inputs: Inputs) -> Plan:
    """Everything that should run, and the objects that tell the mesh so."""
    contents = read_manifests(inputs.manifests)
    addresses = AddressBook(inputs.mesh, taken=[FIRST_ADDRESS])
    gateways = gateway_proxies(inputs.manifests, contents.workloads, inputs.file, addresses)
    workloads = [_bounded(workload) for workload in contents.workloads if not workload.is_gateway]
    replicas = tuple(
        replica for workload in workloads for replica in _replicas(workload, contents.services, inputs, addresses)
    )
    objects: dict[ObjectRef, Manifest] = {pod_ref(*proxy.key): gateway_pod(proxy) for proxy in gateways}
    for replica in replicas:
        users = users_spec(inputs.manifests, replica.namespace, replica.labels)
        objects[pod_ref(*replica.key)] = replica_pod(replica)
        objects[ObjectRef(GROUP, "Sidecar", *replica.key)] = sidecar(replica, users)
    problems = (
        *contents.problems,
        *itertools.chain.from_iterable(port_clashes(proxy) for proxy in gateways),
        *_workload_problems(workloads, replicas, contents.services),
        *_unheeded(workloads, inputs),
        *_too_many(contents.workloads),
        *_unknown_commands(inputs.file, contents),
    )
    hidden = frozenset(withheld(inputs.manifests))
    return Plan(replicas, gateways, contents.services, objects, hidden, problems)


class _Around(msgspec.Struct, frozen=True):
    """What stands around the replicas of one workload."""

    selecting: Sequence[Service]  # whose endpoints they are
    reachable: Sequence[Service]  # which they may call by variables
    inputs: Inputs
    addresses: AddressBook


def _replicas(
    workload: Workload, services: Sequence[Service], inputs: Inputs, addresses: AddressBook
) -> Iterator[Replica]:
    """The replicas of one workload. Equal but for their names and what follows from these."""
    selecting = [service for service in services if service.selects(workload.ref.namespace, workload.labels)]
    reachable = [service for service in services if service.metadata.namespace == workload.ref.namespace]
    around = _Around(selecting, reachable, inputs, addresses)
    digest = _template_digest(workload, selecting, inputs)
    return (_replica(workload, _pod_name(workload.ref, digest, index), around) for index in range(workload.replicas))


def _replica(workload: Workload, name: str, around: _Around) -> Replica:
    inputs = around.inputs
    namespace, template = workload.ref.namespace, workload.template
    address = around.addresses.address(f"{namespace}/{name}")
    book = PortBook(inputs.busy)
    http_proxy_port = book.take(inputs.http_proxy_port)
    ingress = declared_ingress(users_spec(inputs.manifests, namespace, workload.labels))
    ports = _with_ingress(container_ports(template, around.selecting), ingress, around.selecting, book)
    listeners = tcp_listeners(around.reachable, book)
    account = template.spec.service_account_name or "default"
    annotations = template.metadata.annotations or {}
    facts = PodFacts(namespace, name, account, workload.labels, annotations, address, ports, http_proxy_port)
    processes, missing = _processes(workload, facts, inputs)
    check = _ready_check(template, ports, processes)
    return Replica(
        namespace=namespace,
        name=name,
        workload=workload.ref,
        labels=workload.labels,
        annotations=annotations,
        service_account=account,
        address=address,
        http_proxy_port=http_proxy_port,
        ports=ports,
        listeners=listeners,
        processes=tuple(_with_variables(one, service_variables(address, listeners)) for one in processes),
        check=check,
        missing=missing,
        identity=_digest(workload.labels, account, ports, processes, check, http_proxy_port),
    )


def _with_ingress(
    declared: dict[int, str], ingress: Mapping[int, int], selecting: Sequence[Service], book: PortBook
) -> tuple[ReplicaPort, ...]:
    """The replica's ports; a port of the user's own Sidecar leads to the application's port it names."""
    for number, target in ingress.items():
        declared.setdefault(number, "")
        declared.setdefault(target, "")
    ports = replica_ports(declared, selecting, book)
    command = {port.container: port.command for port in ports}
    return tuple(
        msgspec.structs.replace(port, command=command[ingress.get(port.container, port.container)]) for port in ports
    )


def _processes(workload: Workload, facts: PodFacts, inputs: Inputs) -> tuple[tuple[ProcessSpec, ...], str]:
    """What runs, and why nothing does. The command in Lateenfile stands for the first container."""
    containers = [each for each in workload.template.spec.containers if each.name not in ENVOY_CONTAINERS]
    spec = inputs.file.command(workload.ref.namespace, workload.ref.name)
    containers = containers or [Container(name="app")]
    found = [process(one, spec if index == 0 else None, facts, inputs) for index, one in enumerate(containers)]
    first = found[0]
    if isinstance(first, Missing):
        return (), first.reason
    processes = tuple(one for one in found if isinstance(one, ProcessSpec))
    for one in processes:
        if not inputs.exists(one.argv[0], Path(one.directory)):
            where = "" if spec is None else f" ({NAME})"
            return (), f"its command {one.argv[0]!r}{where} is no program that can be run on this machine"
    return processes, ""


def _ready_check(template: Template, ports: Sequence[ReplicaPort], processes: Sequence[ProcessSpec]) -> ReadyCheck:
    """The first container's readinessProbe; without one, that something listens on the first port."""
    first = template.spec.containers[0] if template.spec.containers else Container()
    probe = first.readiness_probe or _NO_PROBE
    asked = next((target.port for target in (probe.http_get, probe.tcp_socket, probe.grpc) if target is not None), None)
    found = next((port for port in ports if asked in (port.container, port.name or None)), None)
    default = ports[0].command if ports else 0
    env = dict(processes[0].env) if processes else {}
    port = 0 if probe.exec is not None else found.command if found is not None else default
    return ReadyCheck(probe, port, env, processes[0].directory if processes else "")


def _with_variables(spec: ProcessSpec, variables: Mapping[str, str]) -> ProcessSpec:
    """Kubernetes lets a container's own variables win over those of Services."""
    return msgspec.structs.replace(spec, env={**variables, **spec.env})


def _workload_problems(
    workloads: Sequence[Workload], replicas: Sequence[Replica], services: Sequence[Service]
) -> Iterator[Problem]:
    for workload in workloads:
        own = next((replica for replica in replicas if replica.workload == workload.ref), None)
        if own is None:
            continue
        if own.missing:
            yield Problem("NoLocalCommand", Level.ERROR, Origin(workload.ref, "spec.template"), own.missing)
        for service in services:
            if service.selects(own.namespace, own.labels):
                yield from unknown_targets(service, own.ports, workload.ref)


def _bounded(workload: Workload) -> Workload:
    """One zero too many in `replicas` must not bring a machine down."""
    return msgspec.structs.replace(workload, replicas=min(workload.replicas, MOST_REPLICAS))


def _too_many(workloads: Sequence[Workload]) -> Iterator[Problem]:
    for workload in workloads:
        if workload.replicas > MOST_REPLICAS:
            text = f"{workload.replicas} replicas are more than one machine runs: {MOST_REPLICAS} are started"
            yield Problem(NOT_RUN, Level.ERROR, Origin(workload.ref, "spec.replicas"), text)


def _unheeded(workloads: Sequence[Workload], inputs: Inputs) -> Iterator[Problem]:
    """What is said in the manifests and does not happen here."""
    for workload in workloads:
        if workload.replicas:
            replaced = inputs.file.command(workload.ref.namespace, workload.ref.name) is not None
            manifest = inputs.manifests[workload.ref]
            yield from unheeded(workload, manifest, inputs.manifests, replaced=replaced)


def _unknown_commands(file: LateenFile, contents: Contents) -> Iterator[Problem]:
    """Entries of Lateenfile that stand for nothing, with the name that was probably meant."""
    refs = [workload.ref for workload in contents.workloads]
    known = {name for ref in refs for name in (ref.name, f"{ref.namespace}/{ref.name}")}
    for name in sorted(set(file.commands) - known):
        close = difflib.get_close_matches(name, sorted(known), 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        origin = Origin(ObjectRef("", "File", "", NAME), f"commands.{name}")
        yield Problem("UnknownDeployment", Level.WARNING, origin, f"no Deployment is called {name!r}{hint}")


def _pod_name(ref: ObjectRef, digest: str, index: int) -> str:
    """A Deployment's replicas are new ones when their template changes; a StatefulSet's keep their names."""
    match ref.kind:
        case "Deployment":
            return f"{ref.name}-{digest[:5]}-{index}"
        case "StatefulSet":
            return f"{ref.name}-{index}"
    return ref.name


def _template_digest(workload: Workload, selecting: Sequence[Service], inputs: Inputs) -> str:
    """Changes when the replicas must be new ones: template, command, ports that Services ask for."""
    spec = inputs.file.command(workload.ref.namespace, workload.ref.name)
    command = (spec.argv, str(spec.directory), sorted(spec.env.items())) if spec else None
    return _digest(workload.template, command, sorted(container_ports(workload.template, selecting)))


def _digest(*parts: Any) -> str:
    encoded = msgspec.json.encode(parts, order="deterministic")
    return blake2b(encoded, digest_size=8).hexdigest()
