"""What serving costs: the whole control plane in one process, simulated proxies and a real Envoy in others.

CPU is that of the serving process; a time ends when the last proxy has what changed. Every size runs in a process of
its own, so that its memory is its own.

python -m bench.serving [--services 100,1000,5000] [--proxies 500] [--mtls] [--no-envoy] [--json]
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random  # noqa: TID251  a benchmark is the same each time
from typing import Any

from controlplane.runtime.grpcstart import grpc_settings

with grpc_settings():  # as the command line does, before anything else imports gRPC
    from controlplane.app.control import ControlPlane

from bench import certificates, mesh, report
from bench.compile import changes_at
from bench.envoy import Envoy, running
from bench.fleet import Fleet, fleet
from bench.machine import apart, machine, raise_file_limit
from controlplane.ir.names import IDENTITY_FOLDER
from controlplane.local.ports import SyncState
from controlplane.model.meta import ref_of
from controlplane.runtime.clock import SystemClock
from controlplane.snapshot import types
from controlplane.xds.admission import MeshAdmission, admit_local
from controlplane.xds.credentials import Certificates

__all__ = ["ControlPlane", "served", "shown"]

RUNS = 5  # of each kind of change; the median counts
PAUSE = 0.4  # seconds between changes: more than the pace at which virtual hosts go to one proxy
QUIET = 0.2  # seconds after the last proxy has a change until its acknowledgements are read
LARGEST = 5000
CLIENT = "spiffe://cluster.local/ns/ns-0/sa/client"
# A change has arrived when each of these has. Endpoints follow every cluster.
ARRIVES: Mapping[str, tuple[str, ...]] = {
    "endpoint": (types.ENDPOINT,),
    "weight": (types.VIRTUAL_HOST,),
    "destination rule": (types.CLUSTER, types.ENDPOINT),
    "new service": (types.CLUSTER, types.ENDPOINT, types.VIRTUAL_HOST),
}


def memory() -> dict[str, float]:
    """MB now, and the most there ever was."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {key: int(rest.split()[0]) for key, _, rest in (line.partition(":") for line in lines) if key[:2] == "Vm"}
    return {"RSS MB": found["VmRSS"] / 1024, "peak RSS MB": found["VmHWM"] / 1024}


@asynccontextmanager
async def served(services: int, folder: Path, *, mtls: bool) -> AsyncIterator[tuple[ControlPlane, str]]:
    """The control plane with the mesh in it, and where its clients find it."""
    plane = ControlPlane(mesh.SETTINGS, SystemClock(), Random(7).random)
    plane.apply(mesh.objects(services))
    plane.start_serving()
    try:
        if mtls:
            files = certificates.write(folder, CLIENT)
            admission = MeshAdmission(frozenset({"cluster.local"}))
            port = await plane.server.listen_tcp("127.0.0.1", 0, Certificates(files), admission)
            yield plane, f"localhost:{port}"
        else:
            await plane.server.listen_unix(folder / "xds.sock", admit_local)
            yield plane, f"unix:{folder / 'xds.sock'}"
    finally:
        await plane.server.stop()


# One size


async def measure(services: int, proxies: int, *, mtls: bool) -> dict[str, Any]:
    """Everything about one mesh and that many simulated proxies."""
    with tempfile.TemporaryDirectory() as name:
        async with served(services, Path(name), mtls=mtls) as (plane, target):
            loaded = memory()
            async with fleet(target, proxies, name if mtls else "") as clients:
                return {
                    "services": services,
                    "proxies": proxies,
                    "transport": "mTLS over loopback TCP" if mtls else "Unix socket",
                    "loaded": loaded,
                    "connect": await connecting(plane, clients),
                    "changes": await changing(plane, clients, services),
                    "reconnect": await reconnecting(plane, clients),
                    "idle": await idle(),
                }


async def connecting(plane: ControlPlane, clients: Fleet) -> dict[str, float]:
    """All at once, the first build of their scope included."""
    start, cpu = time.monotonic(), time.process_time()
    await clients.connect()
    counts = await shown(plane)
    first, seen = await clients.synced(counts)
    await asyncio.sleep(QUIET)
    spent, peak = time.process_time() - cpu, memory()["peak RSS MB"]
    seen = await clients.seen()
    await asyncio.sleep(2.0)
    return {
        "CPU s": spent,
        "first proxy s": first - start,
        "wall s": seen.last - start,
        "peak RSS MB": peak,
        "RSS after MB": memory()["RSS MB"],
        "bytes a proxy": seen.bytes / clients.proxies,
        "resources a proxy": seen.resources / clients.proxies,
        "resources": sum(counts.values()),
    }


async def shown(plane: ControlPlane) -> dict[str, int]:
    """How many resources of each type the first proxy is to have, once there is one."""
    while (scope := plane.graph.scope("1")) is None:  # noqa: ASYNC110  nothing tells of it
        await asyncio.sleep(0.01)
    view = plane.graph.proxy_view(scope, plane.graph.shared_view(scope))
    return {type_url: view.count(type_url) for type_url in types.PUSH_ORDER}


async def changing(plane: ControlPlane, clients: Fleet, services: int) -> dict[str, Any]:
    """Each kind of change, to all proxies."""
    found = {}
    for kind, documents in changes_at(services).items():
        turns = [await one_change(plane, clients, kind, documents(turn)) for turn in range(RUNS)]
        found[kind] = {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}
        found[kind]["slowest last ms"] = max(turn["last ms"] for turn in turns)
    return found


async def one_change(plane: ControlPlane, clients: Fleet, kind: str, documents: Iterable[dict]) -> dict[str, float]:
    """One revision, until every proxy has it and has acknowledged it."""
    changes = {ref_of(value): value for value in map(mesh.value_of, documents)}
    await asyncio.sleep(PAUSE)
    await clients.round(ARRIVES[kind])
    start, cpu = time.monotonic(), time.process_time()
    plane.apply(changes)
    compiled = time.process_time() - cpu
    await clients.ended()
    await asyncio.sleep(QUIET)
    spent, seen = time.process_time() - cpu, await clients.seen()
    return {
        "CPU us a proxy": spent / clients.proxies * 1e6,
        "CPU ms": spent * 1e3,
        "of it before the first write ms": compiled * 1e3,
        "first ms": (seen.first - start) * 1e3,
        "last ms": (seen.last - start) * 1e3,
        "bytes a proxy": seen.bytes / clients.proxies,
        "resources a proxy": seen.resources / clients.proxies,
        "responses a proxy": seen.responses / clients.proxies,
    }


async def reconnecting(plane: ControlPlane, clients: Fleet) -> dict[str, float]:
    """All streams break and come back with the versions they have, and nothing changed meanwhile."""
    before = {status.number for status in plane.server.statuses()}
    start, cpu = time.monotonic(), time.process_time()
    await clients.reconnect()
    while not all_back(plane, before, clients.proxies):  # noqa: ASYNC110  nothing tells of it
        await asyncio.sleep(0.2)
    wall = time.monotonic() - start
    await asyncio.sleep(QUIET)
    spent = time.process_time() - cpu
    await asyncio.sleep(1.0)
    seen = await clients.seen()
    return {"CPU s": spent, "wall s": wall, "resources": seen.resources, "responses": seen.responses, **memory()}


def all_back(plane: ControlPlane, before: set[int], proxies: int) -> bool:
    """Each is there again, and has asked for all five types."""
    here = [status for status in plane.server.statuses() if status.number not in before]
    return len(here) == proxies and all(len(status.types) >= 5 for status in here)


async def idle() -> dict[str, float]:
    """What streams cost when nothing happens."""
    cpu = time.process_time()
    await asyncio.sleep(2.0)
    return {"CPU ms a second": (time.process_time() - cpu) / 2.0 * 1e3}


# A real Envoy


async def with_envoy(services: int) -> dict[str, Any]:
    """Envoy's own CPU for what it is sent, beside ours."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (identity := folder / IDENTITY_FOLDER).mkdir()
        async with (
            served(services, identity, mtls=True) as (plane, target),
            running(folder, int(target.rpartition(":")[2]), mesh.sidecar()) as envoy,
        ):
            await settled(plane, envoy)
            connect = {"Envoy CPU s": envoy.cpu(), **envoy.memory()}
            kinds = changes_at(services).items()
            changes = {kind: await envoy_changes(plane, envoy, documents) for kind, documents in kinds}
            return {"services": services, "connect": connect, "changes": changes}


async def envoy_changes(
    plane: ControlPlane, envoy: Envoy, documents: Callable[[int], Iterable[dict]]
) -> dict[str, float]:
    ours, theirs = [], []
    for turn in range(RUNS):
        changes = {ref_of(value): value for value in map(mesh.value_of, documents(turn))}
        await asyncio.sleep(PAUSE)
        cpu, envoys = time.process_time(), envoy.cpu()
        plane.apply(changes)
        await asyncio.sleep(PAUSE)
        ours.append(time.process_time() - cpu)
        theirs.append(envoy.cpu() - envoys)
    return {"our CPU ms": statistics.median(ours) * 1e3, "Envoy CPU ms": statistics.median(theirs) * 1e3}


async def settled(plane: ControlPlane, envoy: Envoy) -> None:
    """Envoy is ready, and everything it was sent is acknowledged."""
    await envoy.ready()
    while unsynced(plane):  # noqa: ASYNC110  nothing tells of it
        await asyncio.sleep(0.1)
    await asyncio.sleep(1.0)


def unsynced(plane: ControlPlane) -> bool:
    return any(kind.state is not SyncState.SYNCED for status in plane.proxies() for kind in status.types.values())


# All of it


def everything(sizes: Iterable[int], proxies: int, *, mtls: bool, envoy: bool) -> dict[str, Any]:
    sizes = list(sizes)
    count = ["--proxies", str(proxies)]
    bare = apart("bare", *count)
    runs = [apart("serving", "--one", str(size), *count) for size in sizes]
    if mtls:
        runs.append(apart("serving", "--one", str(sizes[-1]), "--mtls", *count))
    envoys = [apart("serving", "--one-envoy", str(size)) for size in sizes] if envoy else []
    return {"machine": machine(), "bare": bare, "runs": runs, "envoys": envoys}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--services", default="100,1000,5000")
    parser.add_argument("--proxies", type=int, default=500)
    parser.add_argument("--mtls", action="store_true", help="also over mTLS, at the largest size")
    parser.add_argument("--no-envoy", action="store_true")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--one-envoy", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    raise_file_limit()
    one: Awaitable[Any] | None = None
    if arguments.one:
        one = measure(arguments.one, arguments.proxies, mtls=arguments.mtls)
    elif arguments.one_envoy:
        one = with_envoy(arguments.one_envoy)
    if one is not None:
        print(json.dumps(asyncio.run(one)))  # type: ignore[arg-type]
        return
    sizes = [int(size) for size in arguments.services.split(",")]
    found = everything(sizes, arguments.proxies, mtls=arguments.mtls, envoy=not arguments.no_envoy)
    print(json.dumps(found) if arguments.json else report.of_serving(found))


if __name__ == "__main__":
    main()
