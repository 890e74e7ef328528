"""Which servers of a plan a VirtualService attaches to, and under which domains.

A host of the VirtualService and a host of a server meet if one covers the other; the domain is the narrower of the
two. (Istio takes the VirtualService's even if it is the wider one, and then serves hosts the Gateway did not mention.)
"""

from collections.abc import Callable, Iterator, KeysView

from controlplane.mesh import hosts
from controlplane.mesh.destinations import missing
from controlplane.mesh.gateways.plan import GatewayPlan
from controlplane.mesh.gateways.server import EVERY_NAMESPACE, Admission, Server, ServerKey
from controlplane.mesh.virtualservice import gateways_of, hosts_of
from controlplane.model.meta import origin_of
from controlplane.model.problem import Level, Problem
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
    return tuple(sorted({server.key for server, _ in _meetings(vs, plan, domain) if not server.kind.speaks_http}))


def admits(admission: Admission, vs_namespace: str) -> bool:
    """Whether VirtualServices of a namespace may attach."""
    return admission.namespace in {EVERY_NAMESPACE, vs_namespace}


def narrower(one: str, other: str) -> str | None:
    """What two hosts or wildcards have in common."""
    if hosts.covers(one, other):
        return other
    return one if hosts.covers(other, one) else None


def unattached(
    vs: VirtualService,
    known: Callable[[str, str], bool],
    attached: bool,  # noqa: FBT001  a fact, not an option
) -> tuple[Problem, ...]:
    """Gateways it names that do not exist; and, if it attached to no server of those that do, that it has no effect."""
    origin = origin_of(vs, "spec")
    found: list[Problem] = []
    keys = gateways_of(vs)
    absent = [key for key in keys if not known(*key)]
    for namespace, name in absent:
        text = f"there is no Gateway {namespace}/{name}; nothing of this object applies there"
        found.append(missing(origin.at("gateways"), text))
    if not attached and len(absent) < len(keys):
        text = "no server of its Gateways admits its hosts from this namespace, so it has no effect there"
        found.append(Problem("VirtualServiceHostNotFoundInGateway", Level.WARNING, origin.at("hosts"), text))
    return tuple(found)


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
