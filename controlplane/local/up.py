"""`lateen up`: takes the directory, starts everything in order, and ends it in order."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from controlplane.local import lateenfile, sockets
from controlplane.local.addresses import OFFSET
from controlplane.local.authority import authority_actions, authority_routes
from controlplane.local.children import Children
from controlplane.local.debug import routes
from controlplane.local.envoys import NoEnvoy, envoy_binary
from controlplane.local.lateenfile import LateenFile
from controlplane.local.mesh import Mesh
from controlplane.local.plan import Inputs, Plan
from controlplane.local.ports import ControlPlane, OpenLaptop
from controlplane.local.processes import Machine
from controlplane.local.secrets import ProxySecrets
from controlplane.local.show import one_line
from controlplane.local.statedir import Misuse, StateDirectory, directory_of
from controlplane.model.decode import decode
from controlplane.model.problem import Level, Problem
from controlplane.runtime.clock import SystemClock
from controlplane.runtime.tasks import Supervisor
from controlplane.runtime.unixhttp import serving
from controlplane.sources.files.scanning import Roots
from controlplane.sources.files.source import FilesSource

_LOOK_AT_LATEENFILE_EVERY = 0.25  # seconds


class Request(msgspec.Struct, frozen=True):
    """What `lateen up` was asked for."""

    paths: tuple[Path, ...]
    recursive: bool = False
    mesh_config: Mapping[str, Any] = {}

    @property
    def lateenfiles(self) -> tuple[Path, ...]:
        """Where `Lateenfile` may stand: in every directory."""
        return tuple(dict.fromkeys(directory_of(path) / lateenfile.NAME for path in self.paths))

    def settings(self, file: LateenFile) -> Mapping[str, Any]:
        """Mesh-wide settings: everything here has an agent, and so a certificate; no low port is bound; what is called
        is this machine.
        """
        here = {"workloadCertificates": True, "privilegedPortOffset": OFFSET, "refuseLocalEndpoints": False}
        return {**here, **file.mesh_config, **self.mesh_config}

    @property
    def roots(self) -> Roots:
        """What is read."""
        return Roots(self.paths, self.recursive)


class Running(msgspec.Struct, frozen=True, eq=False):
    """A mesh that runs."""

    mesh: Mesh
    control: ControlPlane
    tasks: Supervisor
    state: StateDirectory


def check(request: Request) -> LateenFile:
    """What can be known to be wrong before anything starts. Raises `Misuse`."""
    for path in request.paths:
        if not path.exists():
            raise Misuse(f"{path}: no such directory or file")
    file = lateenfile.load(request.lateenfiles)
    if file.problems:
        raise Misuse(file.problems[0])
    try:
        envoy_binary()
    except NoEnvoy as error:
        raise Misuse(str(error)) from error
    return file


@asynccontextmanager
async def running(
    request: Request, file: LateenFile, state: StateDirectory, open_laptop: OpenLaptop
) -> AsyncIterator[Running]:
    """A mesh from start to end. Raises `Misuse`, `CriticalTaskEnded`."""
    inputs = _inputs(request, file)
    config = request.settings(file)
    clock = SystemClock()
    async with (
        Children() as children,
        Supervisor(clock) as services,
        open_laptop(config, state.authority, services) as (control, identities, authorities),
        Supervisor(clock) as tasks,
    ):
        tasks.critical("control plane", services.wait)
        machine = Machine(children, clock, state, envoy_binary(), identities, dict(os.environ))
        source = FilesSource(request.roots, decode)
        mesh = Mesh(inputs, machine, control, tasks, source)
        now = Running(mesh, control, tasks, state)
        tasks.critical("keeper", children.died)
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        tasks.critical("files", lambda: _follow(mesh, source, first))
        await first
        tasks.restarted("traffic", mesh.measure)
        tasks.restarted(lateenfile.NAME, lambda: _follow_lateenfile(mesh, request, config))
        secrets = ProxySecrets(control, clock, authorities, mesh.folder_of)
        asked = {**routes(control, mesh, mesh), **secrets.routes(), **authority_routes(authorities)}
        async with serving(state.debug_socket, asked, authority_actions(authorities)):
            yield now


async def _follow(mesh: Mesh, source: FilesSource, first: "asyncio.Future[None]") -> None:
    """`first` gets what the first plan is judged to be; later failures are the supervisor's."""

    def judge(plan: Plan, in_files: Sequence[Problem]) -> None:
        judge_first(plan, in_files, mesh.place_of)
        first.set_result(None)

    try:
        await mesh.follow(source.batches(), judge)
    except Misuse as misuse:
        first.set_exception(misuse)
        await asyncio.Event().wait()  # whoever waits for `first` ends us


async def _follow_lateenfile(mesh: Mesh, request: Request, config: Mapping[str, Any]) -> None:
    """Small, rarely changed, and read in a millisecond: looked at now and then.

    What two looks agree on holds: between them an editor has written the other half of the file.
    """
    current = previous = mesh.file
    while True:
        await asyncio.sleep(_LOOK_AT_LATEENFILE_EVERY)
        found = await asyncio.to_thread(lateenfile.load, request.lateenfiles)
        if found == previous != current:
            current = found
            if not found.problems:
                config = await _configured(mesh, config, request.settings(found))
            mesh.use(found)
        previous = found


async def _configured(mesh: Mesh, before: Mapping[str, Any], config: Mapping[str, Any]) -> Mapping[str, Any]:
    if config != before:
        await mesh.configure(config)
    return config


def judge_first(
    plan: Plan, in_files: Sequence[Problem] = (), place_of: Callable[[Problem], str] = lambda _: ""
) -> None:
    """What would make a start pointless. Raises `Misuse`."""
    if not plan.replicas and not plan.gateways:
        errors = sorted((*plan.problems, *in_files), key=_how_likely)
        hint = next((one_line(problem, place_of(problem)) for problem in errors), "subdirectories are read with -R")
        raise Misuse(f"nothing to run: no Deployment, Pod or Gateway was found ({hint})")
    addresses = [*(replica.address for replica in plan.replicas), *(proxy.address for proxy in plan.gateways)]
    unusable = [address for address in addresses if not sockets.can_bind(address, 0)]
    if unusable:
        raise Misuse(missing_addresses(unusable, sys.platform))
    for proxy in plan.gateways:
        for port in proxy.ports:
            if not sockets.can_bind(proxy.address, port.bound):
                holder = sockets.holder_of(port.bound)
                raise Misuse(f"port {port.bound} (port {port.number} of {port.gateway}) is held by {holder}")


def _how_likely(problem: Problem) -> tuple[bool, bool]:
    """Sorts first what is the reason that nothing runs."""
    runs = problem.origin.ref.kind in ("Deployment", "StatefulSet", "Pod", "Gateway", "Ingress", "File")
    return problem.level is not Level.ERROR, not runs


def missing_addresses(addresses: Sequence[str], platform: str) -> str:
    """One line on what to do where the loopback network has one address only (macOS)."""
    words = f"this machine does not have the loopback addresses {', '.join(addresses)}"
    if platform == "darwin":
        aliases = " && ".join(f"sudo ifconfig lo0 alias {address} up" for address in addresses)
        return f"{words}; macOS needs each as an alias: {aliases}"
    return f"{words}: is 127.0.0.0/8 on lo?"


def _inputs(request: Request, file: LateenFile) -> Inputs:
    directory = directory_of(request.paths[0])
    return Inputs(
        manifests={},
        file=file,
        mesh=blake2b(os.fsencode(directory), digest_size=8).hexdigest(),
        directory=directory,
        exists=program_exists,
        python=sys.executable,
        busy=sockets.ports_held_everywhere(),
    )


def program_exists(program: str, directory: Path) -> bool:
    """As `exec` would find it: a path is relative to where it is started, a name is looked for in PATH."""
    if "/" in program:
        return os.access(directory / program, os.X_OK) and not (directory / program).is_dir()
    return shutil.which(program) is not None


@asynccontextmanager
async def stop_signals() -> AsyncIterator[asyncio.Event]:
    """An event that Ctrl-C and SIGTERM set."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def first_of(stop: asyncio.Event, tasks: Supervisor) -> None:
    """Until asked to stop, or until something the process cannot do without has ended (then that is raised)."""
    ended = asyncio.ensure_future(tasks.wait())
    asked = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([ended, asked], return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            ended.result()
    finally:
        for each in (ended, asked):
            each.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await each
