"""Point 6: a weight change is sent as one virtual host to each proxy that sees its service, and not at all to others."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bench import mesh
from bench.proxies import Fleet
from bench.serving import ControlPlane, served, unsynced
from controlplane.model.meta import ref_of

pytestmark = pytest.mark.point

SERVICES, CONCERNED, OTHERS = 40, 3, 5
ELSEWHERE, AT_HOME = 5, 20  # services: in ns-5, and in ns-0 as all proxies are
MOST_BYTES = 1536
PATIENCE = 30  # seconds


def sidecar_of(number: int) -> dict:
    """A proxy that sees its own namespace alone."""
    labels = dict(mesh.sidecar(number).labels)
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Sidecar",
        "metadata": {"name": f"of-client-{number}", "namespace": "ns-0"},
        "spec": {"workloadSelector": {"labels": labels}, "egress": [{"hosts": ["./*"]}]},
    }


def change(plane: ControlPlane, *documents: dict) -> None:
    plane.apply({ref_of(value): value for value in map(mesh.value_of, documents)})


@asynccontextmanager
async def connected(plane: ControlPlane, target: str) -> AsyncIterator[tuple[Fleet, Fleet]]:
    """Proxies that see all, and proxies that see their own namespace."""
    change(plane, *(sidecar_of(number) for number in range(CONCERNED, CONCERNED + OTHERS)))
    fleets = Fleet(target, None, 0, CONCERNED), Fleet(target, None, CONCERNED, OTHERS)
    for fleet in fleets:
        await fleet.obey(json.dumps({"do": "connect"}).encode())
    await settled(plane)
    yield fleets
    for fleet in fleets:
        await asyncio.gather(*(proxy.leave() for proxy in fleet.proxies))


async def settled(plane: ControlPlane) -> None:
    """All are there, have asked for everything, and have acknowledged all they were sent."""

    def asked() -> bool:
        found = plane.proxies()
        return len(found) == CONCERNED + OTHERS and all(len(one.types) >= 5 for one in found)

    await until(asked)
    await until(lambda: not unsynced(plane))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.01)


async def test_a_weight_change_goes_to_whom_it_concerns(tmp_path: Path, proved) -> None:
    async with (
        served(SERVICES, tmp_path, mtls=False) as (plane, target),
        connected(plane, target) as (concerned, others),
    ):
        concerned.begin()
        others.begin()
        change(plane, mesh.virtual_service(ELSEWHERE, 51))
        await until(lambda: concerned.responses >= CONCERNED)
        await settled(plane)
        sent = concerned.resources, concerned.responses, concerned.bytes // CONCERNED
        # Whatever the others were sent would be there before something that all of them see.
        change(plane, mesh.virtual_service(AT_HOME, 51))
        await until(lambda: others.responses >= OTHERS)
        await settled(plane)
        astray = others.resources - OTHERS
    proved(
        "6.4", "a weight change: virtual hosts to each delta proxy concerned, to others",
        bound=f"1 of <= {MOST_BYTES:,} bytes, 0", figure=f"{sent[0] / CONCERNED:g} of {sent[2]:,} bytes, {astray}",
        holds=sent[:2] == (CONCERNED, CONCERNED) and sent[2] <= MOST_BYTES and not astray,
        cases=CONCERNED + OTHERS, asked=CONCERNED + OTHERS,
    )  # fmt: skip
