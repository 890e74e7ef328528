"""What acts on a Service, or on a Pod: who is behind it, which rules are for it, what its ports take.

Worked out from objects alone, whoever has them: files, a mesh on this machine, a cluster. The rules are read by the
functions that compile them; what they come to for one proxy is `lateen proxy-config`'s to show, and which of two rules
has its way is a problem of the other one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from controlplane.ir.guard import Peers
from controlplane.ir.service import Protocol
from controlplane.mesh import destinationrule as mesh_destinationrule
from controlplane.mesh import hosts, peerauthentication, protocol, sidecar, tenancy
from controlplane.mesh import virtualservice as mesh_virtualservice
from controlplane.mesh.caller import has_labels
from controlplane.mesh.workload import TLS_MODE_LABEL
from controlplane.model import core
from controlplane.model.authorizationpolicy import AuthorizationPolicy
from controlplane.model.destinationrule import DestinationRule
from controlplane.model.kinds import Object
from controlplane.model.meta import Meta, ref_of
from controlplane.model.peerauthentication import PeerAuthentication
from controlplane.model.problem import ObjectRef
from controlplane.model.requestauthentication import RequestAuthentication
from controlplane.model.settings import Settings
from controlplane.model.sidecar import Sidecar
from controlplane.model.virtualservice import HTTPRoute, TCPRoute, TLSRoute, VirtualService

Objects = Mapping[ObjectRef, Object]
PROXY: Final = "istio-proxy"  # the container
_GATEWAY_TEMPLATES: Final = "inject.istio.io/templates"
_REVISION: Final = "istio.io/rev"
_NO_PROXY: Final = "plain text: no proxy"
_Selecting = AuthorizationPolicy | RequestAuthentication | PeerAuthentication


class Port(msgspec.Struct, frozen=True):
    """One port of a Service, and what is behind it."""

    service: str
    number: int
    target: str  # of the workload: "8080", "http"
    protocol: str
    declared: str  # by what: "appProtocol grpc", "name http-web"; "" = nobody says: the first bytes are looked at
    mutual_tls: str  # what the workload's port takes: "permissive", "strict", "disable"


class Behind(msgspec.Struct, frozen=True):
    """A workload."""

    name: str
    kind: str
    ready: str  # "yes", "no"; "" = nothing runs
    proxy: str  # "sidecar", "gateway", "none"


class Rule(msgspec.Struct, frozen=True):
    """An object that acts."""

    object: str
    does: str


class Description(msgspec.Struct, frozen=True, rename="camel"):
    """All that is known of one object."""

    kind: str
    namespace: str
    name: str
    facts: Mapping[str, str]
    ports: tuple[Port, ...] = ()
    workloads: tuple[Behind, ...] = ()
    rules: tuple[Rule, ...] = ()
    concerned: tuple[str, ...] = ()  # objects whose problems are its own


class _Workload(msgspec.Struct, frozen=True):
    """A Pod, or the Pods that a Deployment would make."""

    value: core.Pod | core.Deployment
    meta: Meta
    spec: core.PodSpec

    @property
    def labels(self) -> Mapping[str, str]:
        return self.meta.labels

    @property
    def is_running(self) -> bool:
        return isinstance(self.value, core.Pod)

    @property
    def proxy(self) -> str:
        if "gateway" in self.meta.annotations.get(_GATEWAY_TEMPLATES, "").split(","):
            return "gateway"
        containers = (*self.spec.init_containers, *self.spec.containers)
        has_one = self.labels.get(TLS_MODE_LABEL) == "istio" or PROXY in [one.name for one in containers]
        return "sidecar" if has_one else "none"


def describe_service(objects: Objects, settings: Settings, namespace: str, name: str) -> Description | None:
    """None: there is no such Service."""
    found = objects.get(ObjectRef("", "Service", namespace, name))
    if not isinstance(found, core.Service):
        return None
    world = _World(objects, settings)
    behind = [one for one in world.workloads(namespace) if _selects(found, one)]
    rules = [*world.rules_of_service(found, behind), *world.rules_of_workloads(namespace, behind)]
    facts = {
        "host": world.host(found),
        "type": found.spec.type or "ClusterIP",
        "addresses": ", ".join(found.vips) or ("headless" if found.headless else ""),
        "selector": _pairs(found.spec.selector),
    }
    return _description(found, facts, world.ports(found, behind), behind, rules)


def describe_pod(objects: Objects, settings: Settings, namespace: str, name: str) -> Description | None:
    """A Pod; or a Deployment, where Pods have yet to be made. None: there is none that is called so, or begins so."""
    world = _World(objects, settings)
    pod = _named(world.workloads(namespace), name)
    if pod is None:
        return None
    services = [one for one in world.of(core.Service, namespace) if _selects(one, pod)]
    rules = [rule for service in services for rule in world.rules_of_service(service, [pod])]
    rules += [*world.rules_of_workloads(namespace, [pod]), *world.sidecars(namespace, pod.labels)]
    account = pod.spec.service_account_name or "default"
    facts = {
        "identity": f"{settings.trust_domain}/ns/{namespace}/sa/{account}",
        "address": ", ".join(pod.value.ips) if isinstance(pod.value, core.Pod) else "",
        "node": pod.spec.node_name,
        "labels": _pairs(pod.labels),
        "proxy": pod.proxy if pod.is_running else "",
        "revision": pod.labels.get(_REVISION, ""),
        "mutual TLS": world.mode(namespace, pod, None),
    }
    ports = tuple(port for service in services for port in world.ports(service, [pod]))
    return _description(pod.value, facts, ports, [pod], rules, services)


def _description(  # noqa: PLR0913, PLR0917  the parts of one value
    value: core.Service | core.Pod | core.Deployment,
    facts: Mapping[str, str],
    ports: tuple[Port, ...],
    behind: Sequence[_Workload],
    rules: Iterable[Rule],
    services: Sequence[core.Service] = (),
) -> Description:
    ref = ref_of(value)
    acting = tuple(dict.fromkeys(rules))
    named = [str(ref), *(str(ref_of(one)) for one in services), *(rule.object for rule in acting)]
    return Description(
        kind=ref.kind,
        namespace=ref.namespace,
        name=ref.name,
        facts={key: text for key, text in facts.items() if text},
        ports=ports,
        workloads=tuple(map(_behind, behind)),
        rules=acting,
        concerned=tuple(dict.fromkeys(named)),
    )


class _World:
    """Objects, as they are looked for here."""

    def __init__(self, objects: Objects, settings: Settings) -> None:
        self._objects = objects
        self._settings = settings

    def of(self, kind: type[Any], namespace: str | None = None) -> Iterator[Any]:
        """All of a kind, by name."""
        for ref in sorted(self._objects):
            value = self._objects[ref]
            if isinstance(value, kind) and namespace in (None, ref.namespace):
                yield value

    def workloads(self, namespace: str) -> list[_Workload]:
        """Pods; and of Deployments those that have none yet."""
        pods = [_Workload(pod, pod.meta, pod.spec) for pod in self.of(core.Pod, namespace) if not pod.finished]
        templates = [
            _Workload(one, msgspec.structs.replace(one.spec.template.meta, name=one.meta.name), one.spec.template.spec)
            for one in self.of(core.Deployment, namespace)
        ]
        return pods + [one for one in templates if not any(has_labels(pod.labels, one.labels) for pod in pods)]

    def host(self, service: core.Service) -> str:
        return hosts.service_host(service.meta.name, service.meta.namespace, self._settings.cluster_domain)

    # Ports

    def ports(self, service: core.Service, behind: Sequence[_Workload]) -> tuple[Port, ...]:
        """Those of a Service, with what the first workload behind it takes there."""
        return tuple(self._port(service, port, behind) for port in service.spec.ports)

    def _port(self, service: core.Service, port: core.ServicePort, behind: Sequence[_Workload]) -> Port:
        target = port.target_port or port.port
        first = next(iter(behind), None) if port.protocol == "TCP" else None
        return Port(
            service=service.meta.name,
            number=port.port,
            target=str(target),
            protocol=_protocol(port),
            declared=_declared(port),
            mutual_tls=self.mode(service.meta.namespace, first, _number(first, target)) if first is not None else "",
        )

    def mode(self, namespace: str, workload: _Workload, port: int | None) -> str:
        """What a workload takes at a port; None: at those nobody spoke of."""
        if workload.is_running and workload.proxy == "none":
            return _NO_PROXY
        peers = self._peers(namespace, workload.labels)
        return str(peers.mode if port is None else peers.at(port))

    def _peers(self, namespace: str, labels: Mapping[str, str]) -> Peers:
        homes = {*self._settings.root_namespaces, namespace}
        policies = [one for one in self.of(PeerAuthentication) if one.meta.namespace in homes]
        modes, _ = peerauthentication.modes(sorted(policies, key=_age), namespace, self._settings)
        return peerauthentication.peers(modes, labels)[0]

    # Rules

    def rules_of_service(self, service: core.Service, behind: Sequence[_Workload]) -> Iterator[Rule]:
        """VirtualServices and DestinationRules that are for its host, or lead there."""
        host = self.host(service)
        for vs in sorted(self.of(VirtualService), key=mesh_virtualservice.order):
            if does := self._routing(vs, host, service.meta.namespace):
                yield Rule(str(ref_of(vs)), does)
        for rule in sorted(self.of(DestinationRule), key=_age):
            if hosts.covers(mesh_destinationrule.rule_host(rule, self._settings.cluster_domain), host):
                yield Rule(str(ref_of(rule)), self._policy(rule, service.meta.namespace, behind))

    def _routing(self, vs: VirtualService, host: str, owner: str) -> str:
        domain, said = self._settings.cluster_domain, []
        named = any(hosts.covers(own, host) for own in mesh_virtualservice.mesh_hosts_of(vs, domain))
        if named and mesh_virtualservice.binds_mesh(vs):
            export = vs.spec.export_to or self._settings.default_virtual_service_export_to
            said.append(f"routes calls {self._callers(vs.meta.namespace, owner, export)}")
        gateways = ", ".join("/".join(one) for one in mesh_virtualservice.gateways_of(vs))
        shares = [text for rule in _routes(vs) if (text := _shares(rule, vs, host, domain))]
        if gateways and (shares or named):
            said.append(f"at gateways {gateways}")
        if shares and not said:
            said.append(f"leads here from {', '.join(vs.spec.hosts) or 'who delegates to it'}")
        return f"{'; '.join(said)}: {' | '.join(shares)}" if said and shares else "; ".join(said)

    def _callers(self, namespace: str, owner: str, export: tuple[str, ...]) -> str:
        reach = tenancy.reach(namespace, owner, export, self._settings)
        if reach.everyone:
            return "of the mesh"
        return f"from {', '.join(sorted(reach.namespaces))}" if reach.namespaces else "of nobody"

    def _policy(self, rule: DestinationRule, owner: str, behind: Sequence[_Workload]) -> str:
        export = rule.spec.export_to or self._settings.default_destination_rule_export_to
        said = [f"for calls {self._callers(rule.meta.namespace, owner, export)}"]
        policy = rule.spec.traffic_policy
        if policy is not None and policy.tls is not None and policy.tls.mode is not None:
            said.append(f"TLS {policy.tls.mode}")
        for subset in rule.spec.subsets:
            there = sum(has_labels(one.labels, subset.labels) for one in behind)
            said.append(f"subset {subset.name}: {there} of {len(behind)} workloads")
        return "; ".join(said)

    def rules_of_workloads(self, namespace: str, behind: Sequence[_Workload]) -> Iterator[Rule]:
        """Policies that select some of them."""
        homes = {*self._settings.root_namespaces, namespace}
        for kind in (PeerAuthentication, RequestAuthentication, AuthorizationPolicy):
            for policy in sorted(self.of(kind), key=_age):
                selected = sum(_is_for(policy, one.labels) for one in behind)
                if policy.meta.namespace in homes and selected:
                    yield Rule(str(ref_of(policy)), _guards(policy, selected, len(behind)))

    def sidecars(self, namespace: str, labels: Mapping[str, str]) -> Iterator[Rule]:
        """The Sidecar that says what a workload may call."""
        roots = [one for home in self._settings.root_namespaces for one in self.of(Sidecar, home)]
        chosen = sidecar.choose(list(self.of(Sidecar, namespace)), roots, labels)
        if chosen is not None:
            yield Rule(str(ref_of(chosen)), "says which hosts it sees")


def _named(workloads: Sequence[_Workload], name: str) -> _Workload | None:
    exact = (one for one in workloads if one.meta.name == name)
    begins = (one for one in workloads if one.meta.name.startswith(name))
    return next(exact, None) or next(begins, None)


def _behind(workload: _Workload) -> Behind:
    pod = workload.value if isinstance(workload.value, core.Pod) else None
    ready = "" if pod is None else "yes" if pod.ready else "no"
    return Behind(workload.meta.name, workload.value.KIND, ready, workload.proxy if pod is not None else "")


def _selects(service: core.Service, workload: _Workload) -> bool:
    return bool(service.spec.selector) and has_labels(workload.labels, service.spec.selector)


def _is_for(policy: _Selecting, labels: Mapping[str, str]) -> bool:
    """One whose selector cannot be read is for all it may be."""
    selector = policy.spec.selector
    return selector is None or selector.invalid or has_labels(labels, selector.match_labels)


def _guards(policy: _Selecting, selected: int, there: int) -> str:
    whom = "" if selected == there else f" for {selected} of {there} workloads"
    if isinstance(policy, AuthorizationPolicy):
        return f"{policy.spec.action or 'ALLOW'}, {len(policy.spec.rules)} rules{whom}"
    if isinstance(policy, PeerAuthentication):
        mtls = policy.spec.mtls
        return f"mutual TLS {mtls.mode if mtls is not None and mtls.mode is not None else 'of ports'}{whom}"
    return f"{len(policy.spec.jwt_rules)} issuers of tokens{whom}"


def _protocol(port: core.ServicePort) -> str:
    if port.protocol != "TCP":
        return port.protocol
    found = protocol.of_service_port(port.name, port.port, port.app_protocol)
    return "detected" if found is Protocol.AUTO else str(found)


def _declared(port: core.ServicePort) -> str:
    if port.app_protocol is not None:
        return f"appProtocol {port.app_protocol}"
    return f"name {port.name}" if port.name and _protocol(port) != "detected" else ""


def _number(workload: _Workload | None, target: int | str) -> int | None:
    if isinstance(target, int) or workload is None:
        return target if isinstance(target, int) else None
    containers = (*workload.spec.containers, *workload.spec.init_containers)
    named = (port.container_port for one in containers for port in one.ports if port.name == target)
    return next(named, None)


def _routes(vs: VirtualService) -> Iterator[HTTPRoute | TLSRoute | TCPRoute]:
    yield from vs.spec.http
    yield from vs.spec.tls
    yield from vs.spec.tcp


def _shares(rule: HTTPRoute | TLSRoute | TCPRoute, vs: VirtualService, host: str, domain: str) -> str:
    """Where one rule sends calls, if it leads to this host: "90% v1, 10% v2"."""
    leads = [one for one in rule.route if one.destination is not None and one.destination.host]
    meant = [hosts.readings(one.destination.host, vs.meta.namespace, domain) for one in leads if one.destination]
    if not any(host in readings for readings in meant):
        return ""
    total = sum(one.weight or 0 for one in leads) or 100
    condition = "if it matches, " if rule.match else ""
    return condition + ", ".join(f"{_percent(one.weight, total, len(leads))} {_target(one)}" for one in leads)


def _percent(weight: int | None, total: int, rivals: int) -> str:
    return "100%" if rivals == 1 else f"{100 * (weight or 0) / total:.3g}%"


def _target(one: Any) -> str:
    destination = one.destination
    return f"{destination.host}/{destination.subset}" if destination.subset else str(destination.host)


def _age(value: Any) -> tuple[bool, str, str, str]:
    """Oldest first; objects without age come last, by name."""
    meta: Meta = value.meta
    born = meta.created.isoformat() if meta.created is not None else ""
    return (meta.created is None, born, meta.namespace, meta.name)


def _pairs(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


__all__ = ["Behind", "Description", "Port", "Rule", "describe_pod", "describe_service"]
