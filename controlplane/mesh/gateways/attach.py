"""Which servers of a plan a VirtualService attaches to, and under which domains.

A host of the VirtualService and a host of a server meet if one covers the other; the domain is the narrower of the
two. (Istio takes the VirtualService's even if it is the wider one, and then serves hosts the Gateway did not mention.)
"""

from collections.abc import Callable, Iterator, KeysView

from controlplane.mesh import hosts
from controlplane.mesh.destinations import missing
from controlplane.mesh.gateways.plan import GatewayPlan
from controlplane.mesh.gateways.server import EVERY_NAMESPACE, Admission, Kind, Server, ServerKey
from controlplane.mesh.problems import ineffective
from controlplane.mesh.tenancy import exported
from controlplane.mesh.virtualservice import gateways_of, hosts_of
from controlplane.model.meta import origin_of
from controlplane.model.problem import Level, Problem
from controlplane.model.settings import Settings
from controlplane.model.virtualservice import VirtualService


def attachments(vs: VirtualService, plan: GatewayPlan, domain: str) -> tuple[tuple[str, str], ...]:
    """(route table, domain) of every virtual host the VirtualService takes part in, sorted."""
    if not vs.spec.http:
        return ()
    met = _meetings(vs, plan, domain)
    return tuple(sorted({(server.table, host) for server, host in met if server.kind.speaks_http}))


def l4_attachments(vs: VirtualService, plan: GatewayPlan, domain: str) -> tuple[ServerKey, ...]:
    """The servers that forward connections as its tcp or tls rules say, sorted."""
    if not vs.spec.tcp and not vs.spec.tls:
        return ()
    return tuple(sorted({server.key for server, _ in _meetings(vs, plan, domain) if _carries(server.kind, vs)}))


def _carries(kind: Kind, vs: VirtualService) -> bool:
    return bool(vs.spec.tls) if kind is Kind.PASSTHROUGH else bool(vs.spec.tcp) and not kind.speaks_http


def admits(admission: Admission, vs_namespace: str) -> bool:
    """Whether VirtualServices of a namespace may attach."""
    return admission.namespace in {EVERY_NAMESPACE, vs_namespace}


def narrower(one: str, other: str) -> str | None:
    """What two hosts or wildcards have in common."""
    if hosts.covers(one, other):
        return other
    return one if hosts.covers(other, one) else None


def missing_gateways(vs: VirtualService, known: Callable[[str, str], bool]) -> tuple[Problem, ...]:
    """The Gateways it names that do not exist. Ask it of every VirtualService, attached anywhere or not."""
    origin = origin_of(vs, "spec.gateways")
    return tuple(
        missing(origin, f"there is no Gateway {namespace}/{name}; nothing of this object applies there")
        for namespace, name in gateways_of(vs)
        if not known(namespace, name)
    )


def is_exported(vs: VirtualService, namespace: str, settings: Settings) -> bool:
    """Whether gateway proxies of a namespace see it, wherever their Gateways stand."""
    export_to = vs.spec.export_to or settings.default_virtual_service_export_to
    return exported(vs.meta.namespace, export_to).covers(namespace)


def not_exported(vs: VirtualService, namespace: str) -> Problem:
    """Rules that have no effect on a proxy although its Gateways are named: they are not for its namespace."""
    text = f"it is not exported to namespace {namespace}, where the proxies of its gateways run"
    return ineffective(origin_of(vs, "spec.exportTo"), text)


def unattached(vs: VirtualService, plan: GatewayPlan, domain: str) -> tuple[Problem, ...]:
    """Rules that have no effect on a proxy although its Gateways are named: no server admits the hosts."""
    if attachments(vs, plan, domain) or l4_attachments(vs, plan, domain):
        return ()
    bound = [key for key in gateways_of(vs) if "/".join(key) in plan.gateways]
    if not bound:
        return ()
    named = " or ".join(f"Gateway {namespace}/{name}" for namespace, name in bound)
    text = f"no server of {named} that could carry these rules admits these hosts from namespace {vs.meta.namespace}"
    return (Problem("VirtualServiceHostNotFoundInGateway", Level.WARNING, origin_of(vs, "spec.hosts"), text),)


def _meetings(vs: VirtualService, plan: GatewayPlan, domain: str) -> Iterator[tuple[Server, str]]:
    """(server, domain) of every host of the VirtualService that a server admits."""
    for key in gateways_of(vs):
        by_host = plan.by_host.get("/".join(key))
        if by_host is None:
            continue
        for host in hosts_of(vs, domain):
            for theirs, common in _common(host, by_host.keys()):
                for server, admission in by_host[theirs]:
                    if admits(admission, vs.meta.namespace):
                        yield server, common


def _common(host: str, theirs: KeysView[str]) -> Iterator[tuple[str, str]]:
    """(host of a server, what it has in common with `host`): looked up for a plain host, compared for a wildcard."""
    for wider in (host, *hosts.wildcards_above(host)):
        if wider in theirs:
            yield wider, host
    if host.startswith("*"):
        yield from ((other, other) for other in theirs if other != host and hosts.covers(host, other))
