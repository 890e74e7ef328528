"""How long the event loop keeps its guests waiting while a mesh-wide setting recompiles everything.

A few streams are connected and endpoints change all the while: what a live control plane does meanwhile. Beside the
lag there is the CPU that the loop itself spent between two beats: on a busy machine the rest is waiting for a core.

python -m bench.lag [--services 5000] [--proxies 20] [--json]
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from bench import mesh, report
from bench.fleet import Fleet, fleet
from bench.serving import ControlPlane, served, shown
from controlplane.model.meta import ref_of
from controlplane.model.settings import Settings
from controlplane.runtime.clock import SystemClock
from controlplane.runtime.lag import LagMeter
from controlplane.snapshot import types

RUNS = 5  # settings; each recompiles everything
EVERY = 0.05  # seconds between endpoint changes
INTERVAL = 0.002  # seconds between beats: a stall of 50 ms is seen in full


class ThreadClock(SystemClock):
    """Time that passes only while the loop computes."""

    def monotonic(self) -> float:
        return time.thread_time()


async def measure(services: int, proxies: int) -> dict[str, Any]:
    """Quantiles of the loop's lag, in ms, over several recompilations."""
    with tempfile.TemporaryDirectory() as name:
        async with (
            served(services, Path(name), mtls=False) as (plane, target),
            fleet(target, proxies, processes=1) as clients,
        ):
            await clients.connect()
            await clients.synced(await shown(plane))
            return {"services": services, "proxies": proxies, **await recompiled(plane, clients)}


async def recompiled(plane: ControlPlane, clients: Fleet) -> dict[str, Any]:
    meter = LagMeter(SystemClock(), interval=INTERVAL, samples=1_000_000)
    own = LagMeter(ThreadClock(), interval=0, samples=1_000_000, sleep=lambda _: asyncio.sleep(INTERVAL))
    turns = count()
    spans, spent, endpoints = [], [], 0
    beating = asyncio.gather(meter.run(), own.run())
    for setting in settings(RUNS):
        changing = asyncio.ensure_future(change_endpoints(plane, turns))
        start, cpu = time.monotonic(), time.process_time()
        await clients.round([types.CLUSTER])
        await plane.configure(setting)
        spans.append(time.monotonic() - start)
        spent.append(time.process_time() - cpu)
        await clients.ended()
        changing.cancel()
        endpoints = next(turns)
    beating.cancel()
    with suppress(asyncio.CancelledError):
        await beating
    lags = {f"p{q * 100:g} ms": meter.quantile(q) * 1e3 for q in (0.5, 0.99, 0.999, 1.0)}
    lags |= {f"p{q * 100:g} CPU ms": own.quantile(q) * 1e3 for q in (0.99, 0.999, 1.0)}
    facts = {"recompilations": len(spans), "beats": meter.beats, "endpoint changes": endpoints}
    return {**facts, "seconds each": statistics.median(spans), "CPU s each": statistics.median(spent), **lags}


def settings(turns: int) -> Iterator[Settings]:
    """Each with another connect timeout, which every cluster carries."""
    for turn in range(turns):
        yield msgspec.structs.replace(mesh.SETTINGS, connect_timeout=timedelta(seconds=11 + turn))


async def change_endpoints(plane: ControlPlane, turns: Iterator[int]) -> None:
    while True:
        await asyncio.sleep(EVERY)
        value = mesh.value_of(mesh.endpoint_slice(7, range(4 + next(turns) % 2)))
        plane.apply({ref_of(value): value})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--services", type=int, default=5000)
    parser.add_argument("--proxies", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = asyncio.run(measure(arguments.services, arguments.proxies))
    print(json.dumps(found) if arguments.json else report.of_lag(found))


if __name__ == "__main__":
    main()
