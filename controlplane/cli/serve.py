"""`lateen serve`: the control plane alone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import structlog

from controlplane.app.cluster import Cluster, open_cluster
from controlplane.app.control import ControlPlane, open_control_plane
from controlplane.app.following import Following
from controlplane.app.identity import IdentityService
from controlplane.app.incluster import Seat, open_in_cluster
from controlplane.app.metrics import Metrics, open_metrics, process_families, proxy_families, source_families
from controlplane.cli import endpoints
from controlplane.cli.identities import GivenOut, given_out, giving_out, tokens
from controlplane.cli.refusal import Refused
from controlplane.cli.settings import read_mapping, read_mesh_config
from controlplane.cli.telling import ProblemTeller
from controlplane.install.names import Place
from controlplane.local.authority import authority_actions, authority_routes
from controlplane.local.debug import routes
from controlplane.local.secrets import ProxySecrets
from controlplane.local.statedir import Misuse, StateDirectory, state_directory
from controlplane.local.up import first_of, stop_signals
from controlplane.model.decode import decode
from controlplane.model.meshconfig import decode_settings
from controlplane.model.problem import ObjectRef
from controlplane.runtime.clock import SystemClock
from controlplane.runtime.limits import allow_many_files
from controlplane.runtime.logs import set_up_logs
from controlplane.runtime.tasks import CriticalTaskEnded, Supervisor
from controlplane.runtime.unixhttp import Handler, serving
from controlplane.security.keeping import AuthorityError, StoreError
from controlplane.sources.files.scanning import Roots
from controlplane.sources.files.source import FilesSource
from controlplane.sources.kubernetes.access import Unreachable
from controlplane.sources.kubernetes.source import Standing
from controlplane.webhooks.injection.settings import decode as decode_injection
from controlplane.xds.admission import MeshAdmission
from controlplane.xds.credentials import Certificates

_TELL_EVERY = 1.0  # seconds
_EMPTY = "there are no manifests here yet (subdirectories are read with -R)"
_LOOK_EVERY = 60.0  # seconds

log = structlog.get_logger(__name__)


class Inside(msgspec.Struct, frozen=True):
    """Of a cluster's own control plane: `--namespace` and what goes with it."""

    namespace: str
    revision: str
    injection: Path | None
    webhooks: str | None


class _Options(msgspec.Struct, frozen=True):
    roots: Roots
    cluster: Cluster | None
    mesh_config: Mapping[str, Any]
    xds_socket: Path | None
    listen: tuple[str, int] | None
    certificates: Certificates | None
    given_out: GivenOut | None
    seat: Seat | None
    metrics: tuple[str, int] | None


async def _tell(objects: Following, control: ControlPlane) -> None:
    """Problems as log lines, at most once a second: working them out takes a moment in a large mesh."""
    teller = ProblemTeller()
    while True:
        with suppress(TimeoutError):  # certificates end while nothing changes
            await asyncio.wait_for(control.changed.wait(), _LOOK_EVERY)
        control.changed.clear()
        teller.tell(objects.problems(), objects.place_of)
        await asyncio.sleep(_TELL_EVERY)


def serve(  # noqa: PLR0913  (the options of one command)
    paths: tuple[Path, ...],
    *,
    cluster: Cluster | None,
    recursive: bool,
    mesh_config: Path | None,
    xds_socket: Path | None,
    address: str | None,
    certificates: Path | None,
    identity: str | None,
    authority: Path | None,
    server_name: str,
    certificate_lifetime: str,
    metrics: str | None = None,
    inside: Inside | None = None,
) -> None:
    """Run until interrupted."""
    if (cluster is None) == (not paths):
        raise Refused("what is to be served? Either directories with manifests, or --kubernetes")
    for path in paths:
        if not path.exists():
            raise Refused(f"{path}: no such directory or file")
    if address is not None and (certificates is None) == (identity is None):
        raise Refused("--listen needs --certificates or --identity: xDS over TCP is served over mutual TLS only")
    if address is None and (certificates is not None or identity is not None):
        raise Refused("--certificates and --identity need --listen")
    if identity is not None and xds_socket is not None:
        raise Refused("--xds-socket is for proxies without certificates, --identity gives every proxy one")
    listen = _address(address, "--listen") if address is not None else None
    given = (
        given_out(listen, _address(identity, "--identity"), authority, server_name, certificate_lifetime)
        if listen and identity
        else None
    )
    options = _Options(
        Roots(paths, recursive),
        cluster,
        read_mesh_config(mesh_config),
        xds_socket,
        listen,
        endpoints.certificates(certificates, SystemClock().now()) if certificates is not None else None,
        given if inside is None else None,
        _seat(inside, cluster, given, mesh_config) if inside is not None else None,
        _address(metrics, "--metrics") if metrics is not None else None,
    )
    if xds_socket is not None:
        endpoints.check_socket(xds_socket)
    allow_many_files()
    set_up_logs("info")
    try:
        with state_directory(paths or (Path(),), "serve") as state:
            asyncio.run(_until_stopped(options, state))
    except Misuse as wrong:
        raise Refused(str(wrong)) from wrong
    except CriticalTaskEnded as ended:
        raise Refused(f"{ended}: {ended.__cause__!r}", code=1) from ended


def _seat(inside: Inside, cluster: Cluster | None, given: GivenOut | None, mesh_config: Path | None) -> Seat:
    place = Place(inside.namespace, inside.revision)
    if wrong := place.wrong():
        raise Refused(f"--{wrong}")
    if cluster is None or given is None:
        raise Refused("--namespace, --injection and --webhooks need --kubernetes and --identity")
    written = read_mapping(inside.injection, "injection") if inside.injection is not None else {}
    try:
        injection = decode_injection(written, read_mesh_config(mesh_config))
    except ValueError as error:
        raise Refused(f"{inside.injection}: {error}") from error
    webhooks = _address(inside.webhooks, "--webhooks") if inside.webhooks is not None else None
    return Seat(cluster, place, given.settings, given.folder, injection, webhooks)


async def _until_stopped(options: _Options, state: StateDirectory) -> None:
    secure = options.given_out is not None or options.seat is not None
    socket = None if secure else options.xds_socket or state.xds_socket
    config = {"workloadCertificates": True, **options.mesh_config} if secure else options.mesh_config
    async with (
        stop_signals() as stop,
        open_control_plane(config, socket, state.issuer_keys) as control,
        _objects(options, control) as (objects, standings),
        Supervisor(SystemClock()) as tasks,
        giving_out(options.given_out, control, config, tasks, state.authority) as identity,
        _measured(options, control, standings) as metrics,
        _seated(options.seat, control, config, tasks, objects, metrics) as seated,
    ):
        if options.listen is not None and options.certificates is not None:
            await _listen(control, options.listen, options.certificates, config)
        tasks.critical("objects", objects.run)
        tasks.critical("show", lambda: _tell(objects, control))
        service = identity.service if identity is not None else seated
        authorities = service.authorities if service is not None else None
        secrets = ProxySecrets(control, SystemClock(), authorities)
        asked = {**routes(control, objects), **secrets.routes(), **authority_routes(authorities)}
        asked |= _sources(standings) if options.cluster is not None else {}
        told = {**authority_actions(authorities), **tokens(identity, config)}
        async with serving(state.debug_socket, asked, told):
            log.info("serving", **({"xds": str(socket)} if socket is not None else {}))
            await first_of(stop, tasks)


@asynccontextmanager
async def _objects(
    options: _Options, control: ControlPlane
) -> AsyncIterator[tuple[Following, Callable[[], tuple[Standing, ...]]]]:
    """What is served, and how it is with where it comes from."""
    if options.cluster is None:
        files = FilesSource(options.roots, decode)
        yield Following(files, control, place_of=files.place_of, empty=_EMPTY, is_current=files.is_current), tuple
        return
    async with open_cluster(options.cluster, control) as source:

        async def is_current(ref: ObjectRef | None, version: str) -> bool:
            return source.is_current(ref, version)

        following = Following(source, control, until_then=source.problems, is_current=is_current)
        yield following, source.standings


def _sources(standings: Callable[[], tuple[Standing, ...]]) -> Mapping[str, Handler]:
    async def told(_query: Mapping[str, str]) -> Any:
        return msgspec.to_builtins(standings())

    return {"/sources": told}


@asynccontextmanager
async def _measured(
    options: _Options, control: ControlPlane, standings: Callable[[], tuple[Standing, ...]]
) -> AsyncIterator[Metrics]:
    """What is counted, and whoever may know it answered if that is wanted."""
    metrics = Metrics()
    metrics.also(process_families)
    metrics.also(lambda: proxy_families(control, version("lateen")))
    if options.cluster is not None:
        metrics.also(lambda: source_families(standings()))
    async with AsyncExitStack() as stack:
        if options.metrics is not None:
            host, port = options.metrics
            try:
                found = await stack.enter_async_context(open_metrics(metrics, host, port))
            except OSError as error:
                raise Misuse(f"cannot listen on {host}:{port}: {error}") from error
            log.info("metrics are answered", address=f"{host}:{found}")
        yield metrics


@asynccontextmanager
async def _seated(  # noqa: PLR0913, PLR0917  everything it needs comes in here
    seat: Seat | None,
    control: ControlPlane,
    config: Mapping[str, Any],
    tasks: Supervisor,
    objects: Following,
    metrics: Metrics,
) -> AsyncIterator[IdentityService | None]:
    """What a cluster's own control plane does besides."""
    if seat is None:
        yield None
        return
    try:
        mesh, _ = decode_settings(config)
        async with open_in_cluster(seat, control, mesh, tasks, objects.problems, metrics) as service:
            yield service
    except (AuthorityError, StoreError, Unreachable) as error:
        raise Misuse(str(error)) from error


async def _listen(
    control: ControlPlane, listen: tuple[str, int], certificates: Certificates, mesh_config: Mapping[str, Any]
) -> None:
    """xDS over TCP, for whoever has a certificate of this mesh."""
    settings, _ = decode_settings(mesh_config)
    trusted = frozenset({settings.trust_domain, *settings.trust_domain_aliases})
    try:
        port = await control.server.listen_tcp(*listen, certificates, MeshAdmission(trusted))
    except (OSError, RuntimeError) as error:
        raise Misuse(f"cannot listen on {listen[0]}:{listen[1]}: {error}") from error
    log.info("serving", xds=f"{listen[0]}:{port}")


def _address(text: str, option: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise Refused(f"{option} {text}: HOST:PORT was expected")
    endpoints.check_address(host.strip("[]"), int(port), option)
    return host, int(port)
