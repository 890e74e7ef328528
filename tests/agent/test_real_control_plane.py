"""The real agent, the real control plane and a real Envoy: identity, bootstrap and configuration from one source."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from controlplane.base.identity import Identity
from controlplane.security.issuing import Lifetimes
from controlplane.security.refusal import Refusal
from tests.agent.agents import PATIENCE, RunningAgent, running
from tests.app.test_identity import identities
from tests.ports import free_port

CALLER = Identity("cluster.local", "shop", "web")
SHORT = Lifetimes(default=timedelta(seconds=6), shortest=timedelta(seconds=1))


class Where:
    """What `running` asks of an endpoint."""

    def __init__(self, port: int, bundle: Path, token: Path) -> None:
        self.port, self.bundle, self.token = port, bundle, token


def beside(local, folder: Path, caller: Identity = CALLER, **flags: str):
    token = folder / "token"
    token.write_text(local.tokens.mint(caller))
    where = Where(local.service.port, local.bundle, token)
    plain = {"pod_name": "web-7", "address": "127.0.0.1", "service_account": caller.account, "labels_file": ""}
    environment = {"ISTIO_META_INTERCEPTION_MODE": "NONE", "SECRET_TTL": "6s"}
    return running(where, folder / "agent", environment=environment, **{**plain, **flags})  # type: ignore[arg-type]


async def until(true: Callable[[], object], agent: RunningAgent) -> None:
    """In this process the control plane runs: nothing may block it."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not true():
                assert agent.process.poll() is None, agent.output
                await asyncio.sleep(0.02)
    except TimeoutError as late:
        raise AssertionError(agent.output) from late


async def ready(agent: RunningAgent) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await asyncio.to_thread(agent.readiness))[0] != 200:
            assert agent.process.poll() is None, agent.output
            await asyncio.sleep(0.05)


async def test_a_whole_rotation_of_the_root_under_a_running_proxy(tmp_path):
    """Each step waits for this agent's word, and finds it kept: nothing is restarted, nobody is cut off."""
    async with identities(tmp_path, prometheus_port=free_port(), lifetimes=SHORT) as (control, local):
        authorities = local.service.authorities
        with beside(local, tmp_path) as agent:
            await ready(agent)
            assert [each.name for each in control.proxies()] == ["web-7.shop"]
            (old,) = authorities.roots.trusted
            assert not isinstance(await authorities.begin(), Refusal)
            await until(lambda: not authorities.lacking(), agent)
            assert not isinstance(await authorities.switch(), Refusal)
            assert authorities.holding()
            await until(lambda: not authorities.holding(), agent)
            done = await authorities.finish()
            assert not isinstance(done, Refusal)
            assert old not in done.trusted
            await until(lambda: not authorities.lacking(), agent)
            (number,) = [status.number for status in control.server.statuses()]
            control.server.call_back(number, "a test wants a new handshake")
            await until(lambda: [status.number for status in control.server.statuses()] not in ([], [number]), agent)
            await ready(agent)
            assert len(agent.events("Envoy started")) == 1
            assert agent.events("no new certificate, trying on") == []


async def test_a_name_that_the_token_does_not_have_is_refused(tmp_path):
    async with identities(tmp_path, prometheus_port=free_port()) as (control, local):
        with beside(local, tmp_path, namespace="bank") as agent:
            await until(lambda: agent.events("no new certificate, trying on"), agent)
            (said,) = agent.events("no new certificate, trying on")
            assert "forbidden" in said["error"]
            assert not agent.events("Envoy started")
            assert list(control.proxies()) == []
