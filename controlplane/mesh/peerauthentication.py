"""PeerAuthentications -> what each port of a workload takes from its callers.

The closest one that says something wins: of the workload, of its namespace, of the mesh; of several equally close ones
the oldest. Servers and callers must agree, so both ask the same `Modes`: a server for the mode of each of its ports, a
caller for whether an endpoint takes mutual TLS at all.

A policy that cannot be read as it is written is taken for STRICT: what it may have forbidden stays forbidden. One whose
selector cannot be read is for all workloads of its namespace, as close to them as if it had named each. In a root
namespace its author may have meant the mesh, so where it says STRICT, or nobody knows what it says, it is the mesh's
word as well; a DISABLE or PERMISSIVE that nobody knows the extent of reaches no other namespace.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from controlplane.ir.guard import PeerMode, Peers
from controlplane.ir.service import Endpoint
from controlplane.mesh.caller import has_labels
from controlplane.mesh.problems import ineffective
from controlplane.model.meta import origin_of
from controlplane.model.peerauthentication import MutualTLS, MutualTLSMode, PeerAuthentication
from controlplane.model.problem import Level, Origin, Problem
from controlplane.model.selecting import PolicySelector
from controlplane.model.settings import Settings
from controlplane.model.validate.peerauthentication import is_port

_MODES: Final = {
    MutualTLSMode.DISABLE: PeerMode.DISABLE,
    MutualTLSMode.PERMISSIVE: PeerMode.PERMISSIVE,
    MutualTLSMode.STRICT: PeerMode.STRICT,
}
_FIRST_UNPRIVILEGED: Final = 1024
_NO_LABELS: Final[Mapping[str, str]] = {}


class Choice(msgspec.Struct, frozen=True):
    """What one policy says of the workloads it selects. None: it does not say."""

    labels: Mapping[str, str]
    origin: Origin
    mode: PeerMode | None = None
    ports: tuple[tuple[int, PeerMode | None], ...] = ()  # sorted


class Modes(msgspec.Struct, frozen=True):
    """What the workloads of one namespace take: `everybody`, but for those a policy selects (the oldest first)."""

    everybody: PeerMode
    origins: tuple[Origin, ...] = ()
    choices: tuple[Choice, ...] = ()
    elsewhere: tuple[Choice, ...] = ()  # of the root namespaces, with selectors: these do not reach further


def modes(
    policies: Sequence[PeerAuthentication], namespace: str, settings: Settings
) -> tuple[Modes, tuple[Problem, ...]]:
    """From the policies of the root namespaces and of the namespace itself, each the oldest first."""
    if not settings.workload_certificates:
        return Modes(PeerMode.DISABLE), ()
    of_roots = [one for one in policies if one.meta.namespace in settings.root_namespaces]
    mesh = [one for one in of_roots if _is_of_all(one) or _may_be_of_all(one)]
    own = [one for one in policies if _is_of_all(one) and one.meta.namespace not in settings.root_namespaces]
    mode, origins = PeerMode.PERMISSIVE, []
    for closest in (*mesh[:1], *own[:1]):
        said = _said(closest, closest.spec.mtls)
        mode = mode if said is None else said
        origins.append(origin_of(closest, "spec"))
    selecting = [one for one in policies if not _is_of_all(one)]
    choices = tuple(_choice(one, settings) for one in selecting if one.meta.namespace == namespace)
    away = (one for one in selecting if one.meta.namespace != namespace and not _selector(one).invalid)
    elsewhere = tuple(_choice(one, settings) for one in away)
    return Modes(mode, tuple(origins), choices, elsewhere), (*_older(mesh), *_older(own))


def peers(found: Modes, labels: Mapping[str, str]) -> tuple[Peers, tuple[Problem, ...]]:
    """What a workload with these labels takes."""
    mode, origins = found.everybody, found.origins
    ports: tuple[tuple[int, PeerMode], ...] = ()
    choosing = [one for one in found.choices if has_labels(labels, one.labels)]
    if choosing:
        chosen = choosing[0]
        mode = mode if chosen.mode is None else chosen.mode
        origins = (*origins, chosen.origin)
        ports = tuple((port, mode if own is None else own) for port, own in chosen.ports)
    missed = (one for one in found.elsewhere if has_labels(labels, one.labels))
    return Peers(mode, ports, origins), (*_outdone(choosing), *map(_out_of_reach, missed))


def refuses(policy: PeerAuthentication) -> bool:
    """Whether it makes some port refuse mutual TLS: callers use it wherever they may."""
    written = (policy.spec.mtls, *policy.spec.port_level_mtls.values())
    return PeerMode.DISABLE in {_said(policy, mtls) for mtls in written}


def secured(endpoints: tuple[Endpoint, ...], peers_of: Callable[[Mapping[str, str]], Peers]) -> tuple[Endpoint, ...]:
    """Endpoints as they are to be called: in plain text where their port refuses mutual TLS.

    `peers_of`: what a workload with these labels takes.
    """

    def is_refused(endpoint: Endpoint) -> bool:
        return endpoint.mutual_tls and peers_of(endpoint.labels).at(endpoint.port) is PeerMode.DISABLE

    return tuple([_plain(one) if is_refused(one) else one for one in endpoints])


def _plain(endpoint: Endpoint) -> Endpoint:
    return msgspec.structs.replace(endpoint, mutual_tls=False)


# One policy


def _is_of_all(policy: PeerAuthentication) -> bool:
    """Whether it is for a whole namespace, or mesh. A selector that cannot be read selects, and nobody knows whom."""
    selector = policy.spec.selector
    return selector is None or not (selector.match_labels or selector.invalid)


def _may_be_of_all(policy: PeerAuthentication) -> bool:
    """Whether it may have forbidden something to everybody: nobody knows whom it selects."""
    return _selector(policy).invalid and _said(policy, policy.spec.mtls) is PeerMode.STRICT


def _choice(policy: PeerAuthentication, settings: Settings) -> Choice:
    unreadable = policy.invalid or _selector(policy).invalid
    said = {} if unreadable else _ports(policy, settings.privileged_port_offset)
    return Choice(
        labels=_NO_LABELS if _selector(policy).invalid else _selector(policy).match_labels,
        origin=origin_of(policy, "spec"),
        mode=PeerMode.STRICT if unreadable else _said(policy, policy.spec.mtls),
        ports=tuple(sorted(said.items())),
    )


def _ports(policy: PeerAuthentication, offset: int) -> dict[int, PeerMode | None]:
    """The mode of each port; of one below 1024 also where it is bound if nobody may open it."""
    found: dict[int, PeerMode | None] = {}
    for text, mtls in policy.spec.port_level_mtls.items():
        if is_port(text):
            port = int(text)
            found[port + (offset if port < _FIRST_UNPRIVILEGED else 0)] = _said(policy, mtls)
    return found


def _said(policy: PeerAuthentication, mtls: MutualTLS | None) -> PeerMode | None:
    if policy.invalid or (mtls is not None and mtls.invalid):
        return PeerMode.STRICT
    return None if mtls is None or mtls.mode is None else _MODES.get(mtls.mode)


def _selector(policy: PeerAuthentication) -> PolicySelector:
    return policy.spec.selector or PolicySelector()


# What their authors should know


def unenforced(policy: PeerAuthentication) -> Problem:
    """Where nobody has an identity."""
    text = "not enforced: proxies of this mesh have no certificates (workloadCertificates), so callers prove nothing"
    return Problem("NotEnforced", Level.ERROR, origin_of(policy), text)


def _older(rivals: Sequence[PeerAuthentication]) -> Iterable[Problem]:
    """Several for one namespace, or for the mesh: one has its way."""
    return (_conflict(origin_of(one, "spec"), origin_of(rivals[0])) for one in rivals[1:])


def _outdone(choosing: Sequence[Choice]) -> Iterable[Problem]:
    return (_conflict(one.origin, choosing[0].origin) for one in choosing[1:])


def _conflict(loser: Origin, winner: Origin) -> Problem:
    text = f"no effect on workloads that {winner.ref} is for as well: that is older, or first by name"
    return Problem("Conflicted", Level.ERROR, loser, text)


def _out_of_reach(missed: Choice) -> Problem:
    text = "workloads of other namespaces have these labels too: a policy with a selector is for its own namespace"
    return ineffective(missed.origin.at("selector"), text)
