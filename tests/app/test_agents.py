"""Real agents and real Envoys on an authority of each kind: certificates, renewals, and another root."""

import asyncio
from contextlib import AsyncExitStack, ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from controlplane.app.control import ControlPlane, open_control_plane
from controlplane.app.identity import IdentitySettings, LocalIdentity, open_local_identity
from controlplane.base.identity import Identity
from controlplane.model.settings import Settings
from controlplane.runtime.clock import SystemClock
from controlplane.runtime.tasks import Supervisor
from controlplane.security.authority import pem
from controlplane.security.issuing import Lifetimes
from controlplane.security.refusal import Refusal
from tests.agent.agents import RunningAgent, running
from tests.security.plugging import Plugged
from tests.security.requests import root

SHORT = Lifetimes(timedelta(seconds=10), timedelta(seconds=1), timedelta(seconds=10))
PATIENCE = 60.0


class World:
    """A control plane and the agents that call it."""

    def __init__(self, control: ControlPlane, local: LocalIdentity, agents: list[RunningAgent]) -> None:
        self.control, self.local, self.agents = control, local, agents
        self.authorities = local.service.authorities

    def connected(self) -> set[str]:
        return {each.name for each in self.control.proxies()}

    async def until(self, holds: Any) -> None:
        async with asyncio.timeout(PATIENCE):
            while not holds():  # noqa: ASYNC110  other processes have no event for us
                await asyncio.sleep(0.05)

    def seconds_left(self) -> list[float]:
        reports = self.authorities.holders._reports.get(("shop", "cart"), {}).values()
        return [(heard.report.not_after - datetime.now(UTC)).total_seconds() for heard in reports]


class Endpoint:
    """As `tests.agent.agents` starts agents with."""

    def __init__(self, local: LocalIdentity, token: Path) -> None:
        self.port, self.bundle, self.token = local.service.port, local.bundle, token


async def start(stack: AsyncExitStack, folder: Path, count: int, plugged: Path | None = None) -> World:
    """`count` agents of one account; all Envoys connected."""
    (folder / "run").mkdir()
    control = await stack.enter_async_context(open_control_plane({}, folder / "run" / "xds.sock"))
    tasks = await stack.enter_async_context(Supervisor(SystemClock()))
    settings = IdentitySettings(lifetimes=SHORT, settled=1.0, prometheus_port=0)
    local = await stack.enter_async_context(
        open_local_identity(control, Settings(), settings, tasks, folder / "ca", plugged)
    )
    control.apply({})
    control.start_serving()
    agents = [_agent(stack.enter_context(ExitStack()), local, folder, number) for number in range(count)]
    world = World(control, local, agents)
    await world.until(lambda: len(world.connected()) == count)
    await world.until(lambda: world.authorities.lacking() == [])
    return world


def _agent(stack: ExitStack, local: LocalIdentity, folder: Path, number: int) -> RunningAgent:
    name, token = f"cart-{number}", folder / f"token-{number}"
    token.write_text(local.tokens.mint(Identity("cluster.local", "shop", "cart")))
    directory = folder / name
    directory.mkdir(mode=0o700)
    endpoint: Any = Endpoint(local, token)
    server = local.service.server_name
    return stack.enter_context(running(endpoint, directory, pod_name=name, service_account="cart", server_name=server))


async def test_a_whole_rotation_of_the_root_beside_renewals(tmp_path: Path, size) -> None:
    async with AsyncExitStack() as stack:
        world = await start(stack, tmp_path, size(2, 10))
        everybody, (old,) = world.connected(), world.authorities.roots.trusted
        await world.until(lambda: world.authorities.holders.unsettled() == 0)
        assert not isinstance(await world.authorities.begin(), Refusal)
        assert isinstance(await world.authorities.switch(), Refusal)
        await world.until(lambda: world.authorities.lacking() == [])
        assert not isinstance(await world.authorities.switch(), Refusal)
        assert isinstance(await world.authorities.finish(), Refusal)
        await world.until(lambda: world.authorities.holding() == [])
        done = await world.authorities.finish()
        assert not isinstance(done, Refusal)
        assert old not in done.trusted
        for status in list(world.control.server.statuses()):
            world.control.server.call_back(status.number, "a test wants new handshakes")
        await world.until(lambda: world.connected() == everybody)
        await world.until(lambda: all(left > 5 for left in world.seconds_left()))
        for agent in world.agents:
            assert agent.process.poll() is None
            assert len(agent.events("Envoy started")) == 1, "no restart"


async def test_a_plugged_in_authority_and_its_three_changes(tmp_path: Path) -> None:
    """The chain of an intermediate is taken by agents, by Envoys and by gRPC; so is a change of its root."""
    folder, now = tmp_path / "cacerts", datetime.now(UTC)
    folder.mkdir()
    files, other = Plugged(folder, now=now), root(99)
    async with AsyncExitStack() as stack:
        world = await start(stack, tmp_path, 1, files.write())
        assert world.authorities.issuer.certificate == files.signer
        await world.until(lambda: world.authorities.holders.unsettled() == 0)
        both = pem((files.top.certificate, other.certificate))
        files.write(root_cert=both)
        await world.until(lambda: world.authorities.bundle == both)
        new = Plugged(folder, top=other, now=now)
        new.write(root_cert=both)
        await world.until(lambda: world.authorities.issuer.certificate == new.signer)
        new.write()
        await world.until(lambda: world.authorities.bundle == other.bundle and not world.authorities.problem)
        (status,) = world.control.server.statuses()
        world.control.server.call_back(status.number, "a test wants a new handshake")
        await world.until(
            lambda: [each.number for each in world.control.server.statuses()] not in ([], [status.number])
        )


async def test_a_proxy_comes_back_with_its_newest_certificate(tmp_path: Path) -> None:
    """Streams end before the certificate of their connection does; the next one must not be on the same connection."""
    async with AsyncExitStack() as stack:
        world = await start(stack, tmp_path, 1)
        first = datetime.now(UTC) + SHORT.default
        await world.until(lambda: datetime.now(UTC) > first)
        here = 0
        for _ in range(60):
            await asyncio.sleep(0.05)
            here += len(world.connected())
        assert here > 45, "connected nearly all the time, after its first certificate has ended"
