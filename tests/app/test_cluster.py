"""A control plane that reads a cluster: the model API server at one end, what proxies get at the other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import yaml
from aiohttp import web

from controlplane.app.cluster import PATIENCE, Cluster, open_cluster
from controlplane.app.control import ControlPlane
from controlplane.app.following import Following
from controlplane.model.proxy import Proxy, parse_node
from controlplane.model.settings import Settings
from controlplane.runtime.clock import SystemClock
from controlplane.snapshot.types import CLUSTER, SECRET
from controlplane.snapshot.view import View
from controlplane.sources.source import Changes
from controlplane.xds.proxies import Denied
from tests.app.test_who_is_served import EDGE
from tests.secrets import tls_secret
from tests.sources.kubernetes.cluster import PODS, SECRETS, SERVICES, Kind
from tests.sources.kubernetes.cluster import Cluster as Model
from tests.sources.kubernetes.serving import FAST, World, world
from tests.sources.kubernetes.test_access import kubeconfig

GATEWAYS = Kind("networking.istio.io", "v1", "gateways", "Gateway")


def model() -> Model:
    cluster = Model()
    cluster.install(GATEWAYS)
    (edge,) = yaml.safe_load_all(EDGE)
    cluster.put(GATEWAYS, "edge", "shop", spec=edge["spec"])
    secret = tls_secret("key", "shop")
    cluster.put(SECRETS, "key", "shop", type=secret["type"], data=secret["data"])
    cluster.put(
        PODS,
        "edge-1",
        "shop",
        metadata={"annotations": {"inject.istio.io/templates": "gateway"}},
        spec={"serviceAccountName": "edge", "containers": []},
        status={"podIP": "10.0.0.7", "phase": "Running"},
    )
    cluster.put(SERVICES, "cart", "shop", spec={"clusterIP": "10.96.0.9", "ports": [{"port": 80, "name": "http"}]})
    return cluster


def proxy(kind: str) -> Proxy:
    return parse_node(f"{kind}~10.0.0.7~edge-1.shop~shop.svc.cluster.local", {"NAMESPACE": "shop"})


@asynccontextmanager
async def reading(folder: Path, patience: float = PATIENCE) -> AsyncIterator[tuple[World, ControlPlane]]:
    control = ControlPlane(Settings(), SystemClock(), lambda: 0.5)
    async with world(model()) as seen:
        kubeconfig(folder / "config", seen.line.port, token="x")
        async with open_cluster(Cluster(str(folder / "config"), "here"), control, patience) as source:
            task = asyncio.get_running_loop().create_task(Following(source, control).run())
            try:
                yield seen, control
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


async def connected(control: ControlPlane, kind: str) -> View:
    view = await asyncio.wait_for(control.connected(1, proxy(kind)), 10)
    assert not isinstance(view, Denied)
    return view


async def test_a_gateway_is_told_nothing_before_its_secrets_are_read(tmp_path: Path) -> None:
    async with reading(tmp_path) as (seen, control):

        async def slow(request: web.BaseRequest) -> None:
            if "secrets" in request.path:
                await asyncio.sleep(0.3)

        seen.server.fault = slow
        view = await connected(control, "router")
        assert [name for name in view.names(SECRET) if "key" in name], "or it would be told that there is none"
        assert not [problem for problem in control.problems() if problem.origin.ref.kind == "Gateway"]


async def test_much_at_once_is_taken_in_turns_with_others(tmp_path: Path) -> None:
    async with reading(tmp_path) as (seen, control):
        view = await connected(control, "sidecar")
        beats = 0
        ends = asyncio.Event()

        async def beat() -> None:
            nonlocal beats
            while not ends.is_set():
                beats += 1
                await asyncio.sleep(0)

        names = [f"s{number}" for number in range(400)]
        ports = [{"port": 80, "name": "http"}]
        for number, name in enumerate(names):
            seen.cluster.put(
                SERVICES, name, "shop", spec={"clusterIP": f"10.97.{number // 250}.{number % 250}", "ports": ports}
            )
        taking = control.apply_in_turns
        turns: list[int] = []

        async def counted(changes: Changes) -> None:
            before = beats
            await taking(changes)
            turns.append(beats - before)

        control.apply_in_turns = counted  # type: ignore[method-assign]
        beating = asyncio.get_running_loop().create_task(beat())
        await seen.until(
            lambda: {f"outbound|80||{name}.shop.svc.cluster.local" for name in names} <= set(view.names(CLUSTER))
        )
        await seen.until(lambda: bool(turns))
        ends.set()
        await beating
        assert max(turns) > 1, "others had their turn in between"


async def test_secrets_of_a_namespace_without_gateways_are_nobodys_business(tmp_path: Path) -> None:
    async with reading(tmp_path) as (seen, control):
        await connected(control, "sidecar")
        assert not [path for path, _ in seen.server.requests if "secrets" in path]


async def test_a_gateway_waits_for_its_secrets_no_longer_than_is_good_for_all_else(tmp_path: Path) -> None:
    async with reading(tmp_path, patience=0.3) as (seen, control):

        async def never(request: web.BaseRequest) -> None:
            if "secrets" in request.path:
                await asyncio.sleep(60)

        seen.server.fault = never
        view = await connected(control, "router")
        assert not [name for name in view.names(SECRET) if "key" in name]


async def test_what_keeps_it_from_serving_is_said(tmp_path: Path) -> None:
    control = ControlPlane(Settings(), SystemClock(), lambda: 0.5)
    async with world(model()) as seen:

        async def refuse(request: web.BaseRequest) -> web.Response | None:
            no = web.json_response({"reason": "Forbidden", "message": "pods is forbidden"}, status=403)
            return no if request.path == PODS.path else None

        seen.server.fault = refuse
        kubeconfig(tmp_path / "config", seen.line.port, token="x")
        async with open_cluster(Cluster(str(tmp_path / "config"), "here"), control, timing=FAST) as source:
            following = Following(source, control, until_then=source.problems)
            task = asyncio.get_running_loop().create_task(following.run())
            await seen.until(lambda: "AccessDenied" in {problem.code for problem in following.problems()})
            assert not control.is_serving
            seen.server.fault = None
            await seen.until(lambda: control.is_serving)
            assert "AccessDenied" not in {problem.code for problem in following.problems()}
            task.cancel()


async def test_what_is_applied_reaches_what_is_served(tmp_path: Path) -> None:
    async with reading(tmp_path) as (seen, control):
        view = await connected(control, "sidecar")

        def names() -> str:
            return " ".join(view.names(CLUSTER))

        assert "cart.shop" in names()
        seen.cluster.put(
            SERVICES, "new", "shop", spec={"clusterIP": "10.96.0.8", "ports": [{"port": 81, "name": "http"}]}
        )
        await seen.until(lambda: "new.shop" in names())
        seen.cluster.delete(SERVICES, "new", "shop")
        await seen.until(lambda: "new.shop" not in names())
