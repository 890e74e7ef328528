"""Identities for a running control plane: its authority, the endpoint that agents call, and xDS over mutual TLS.

Everything starts here, in this order: the roots and the bundle that is told of them; our own certificate; the xDS port,
whose number bootstraps carry; the endpoint.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.app.bootstraps import Bootstraps, XdsPlace
from controlplane.app.control import ControlPlane
from controlplane.base.identity import Identity
from controlplane.model.settings import Settings
from controlplane.runtime.buckets import Buckets, Rate
from controlplane.runtime.clock import SystemClock
from controlplane.runtime.https import HttpsServer, Limits, Route
from controlplane.runtime.tasks import Supervisor
from controlplane.security.authorities import Authorities, open_authorities
from controlplane.security.bundles import BundleWriter
from controlplane.security.callers import Callers, TokenKind
from controlplane.security.endpoint import Endpoint
from controlplane.security.filestore import FileBundle, FileStore
from controlplane.security.holders import Holder, Holders
from controlplane.security.issuing import STANDARD, Lifetimes
from controlplane.security.localtokens import LocalTokens
from controlplane.security.serving import Names, Serving
from controlplane.security.sources import OwnRoots, PluggedRoots, RootSource, Secrets
from controlplane.xds.admission import MeshAdmission
from controlplane.xds.credentials import Certificates

log = structlog.get_logger(__name__)

ACCOUNT: Final = "lateend"  # the control plane's own
BUNDLE: Final = "trusted.pem"
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::", "[::]"})  # noqa: S104  compared, not bound
_GRACE: Final = 1.0  # seconds for what is being answered when the process ends


class IdentitySettings(msgspec.Struct, frozen=True, kw_only=True):
    """How identities are given out. Defaults are those of one machine."""

    host: str = "127.0.0.1"  # what HTTPS is bound on
    port: int = 0  # 0: a free one
    xds_host: str = "127.0.0.1"  # what xDS is bound on, and where proxies find it
    xds_port: int = 0
    names: tuple[str, ...] = ("lateend.lateen-system.svc",)  # of our certificate; bootstraps demand the first
    lifetimes: Lifetimes = STANDARD
    limits: Limits = Limits()
    asks: Rate = Rate(burst=500, per_second=10)  # of one identity: a thousand replicas may share it
    failures: Rate = Rate(burst=20, per_second=0.5)  # of one address
    settled: float = 60.0  # seconds in which proxies come back after a start: no step of a rotation counts on less
    prometheus_port: int = 15090  # of each proxy; 0: none
    system_roots: str = ""  # where proxies find their machine's authorities; "": nowhere
    stats: tuple[str, ...] | None = None  # prefixes of the statistics that proxies keep; None: all


class IdentityService(msgspec.Struct, frozen=True, eq=False):
    """What runs."""

    authorities: Authorities
    https: HttpsServer
    port: int
    xds_port: int
    server_name: str
    serving: Serving


class LocalIdentity(msgspec.Struct, frozen=True, eq=False):
    """What runs on one machine: `tokens` are minted for its workloads, `bundle` is the file their agents trust by."""

    service: IdentityService
    tokens: LocalTokens
    bundle: Path


@asynccontextmanager
async def open_local_identity(  # noqa: PLR0913, PLR0917  everything it needs comes in here
    control: ControlPlane,
    mesh: Settings,
    settings: IdentitySettings,
    tasks: Supervisor,
    folder: Path,
    plugged: Path | None = None,
) -> AsyncIterator[LocalIdentity]:
    """With the roots in `folder`, or an authority plugged in as files. Raises as `open_identity`."""
    clock, bundle = SystemClock(), folder / BUNDLE
    own = OwnRoots(FileStore(folder), mesh.trust_domain, SECRETS, clock)
    source = own if plugged is None else PluggedRoots(plugged, clock)
    tokens = LocalTokens(secrets.token_bytes)
    async with open_identity(control, mesh, settings, tasks, tokens, source, (FileBundle(bundle),)) as service:
        yield LocalIdentity(service, tokens, bundle)


@asynccontextmanager
async def open_identity(  # noqa: PLR0913, PLR0917  as above
    control: ControlPlane,
    mesh: Settings,
    settings: IdentitySettings,
    tasks: Supervisor,
    tokens: TokenKind,
    source: RootSource,
    writers: Sequence[BundleWriter],
    routes: Sequence[Route] = (),
) -> AsyncIterator[IdentityService]:
    """Until left, or until `tasks` end. `routes`: what is answered beside agents.

    Raises AuthorityError, StoreError, OSError (ssl.SSLError is one).
    """
    clock = SystemClock()
    holders = Holders(clock, lambda: _connected(control), settled=settings.settled)
    authorities = await open_authorities(source, holders, writers)
    names = Names(own_identity(mesh), settings.names)
    serving = Serving(authorities, names, SECRETS, clock, settings.lifetimes)
    domains = trust_domains(mesh)
    xds_port = await control.server.listen_tcp(
        settings.xds_host, settings.xds_port, Certificates(serving), MeshAdmission(frozenset(domains))
    )
    callers = Callers(tokens, domains, Buckets(clock, settings.failures), clock.now)
    bootstraps = _bootstraps(settings, xds_port)
    tasks.once("bootstraps", bootstraps.warm_up)
    endpoint = _endpoint(callers, authorities, bootstraps, settings, lambda: control.is_serving)
    https = HttpsServer((*endpoint.routes(), *routes), serving.read(), settings.limits)
    serving.follow(https.use)
    port = await https.listen(tasks, settings.host, settings.port)
    tasks.restarted("authority", authorities.run)
    tasks.restarted("own certificate", serving.run)
    log.info("identities are given out", address=f"{settings.host}:{port}", authority=str(source))
    try:
        yield IdentityService(authorities, https, port, xds_port, settings.names[0], serving)
    finally:
        await https.stop(_GRACE)


def own_identity(mesh: Settings) -> Identity:
    """The control plane's, of all its replicas."""
    return Identity(mesh.trust_domain, mesh.root_namespace, ACCOUNT)


def trust_domains(mesh: Settings) -> tuple[str, ...]:
    """Ours, and then those that mean the same."""
    return (mesh.trust_domain, *mesh.trust_domain_aliases)


def _bootstraps(settings: IdentitySettings, xds_port: int) -> Bootstraps:
    return Bootstraps(
        XdsPlace(_found_at(settings), xds_port, settings.names[0]),
        prometheus_port=settings.prometheus_port,
        system_roots=settings.system_roots,
        stats=settings.stats,
    )


def _found_at(settings: IdentitySettings) -> str:
    """Who listens everywhere is found by name."""
    return settings.names[0] if settings.xds_host in _EVERYWHERE else settings.xds_host


def _endpoint(
    callers: Callers,
    authorities: Authorities,
    bootstraps: Bootstraps,
    settings: IdentitySettings,
    ready: Callable[[], bool],
) -> Endpoint:
    clock = SystemClock()
    return Endpoint(
        callers,
        authorities,
        bootstraps,
        rate=Buckets(clock, settings.asks),
        clock=clock,
        serial=SECRETS.serial,
        lifetimes=settings.lifetimes,
        ready=ready,
    )


def _connected(control: ControlPlane) -> Iterator[Holder]:
    for proxy in control.server.proxies():
        yield Holder(proxy.namespace, proxy.service_account, proxy.id)


SECRETS: Final = Secrets(key=lambda: ec.generate_private_key(ec.SECP256R1()), serial=lambda: secrets.randbits(128) or 1)
