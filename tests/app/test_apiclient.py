"""A client that is kept for as long as a control plane runs: who we are to an API server changes meanwhile."""

from contextlib import AsyncExitStack
from typing import Any

import pytest

from controlplane.app.apiclient import open_client
from controlplane.install.api import KubernetesApi
from controlplane.sources.kubernetes.access import Unreachable
from tests.runtime.turning import TurningClock
from tests.sources.kubernetes.serving import Known, world


async def status(client: Any) -> int:
    return (await KubernetesApi(client)("GET", "/api/v1/services")).status


async def test_credentials_are_read_anew_every_few_minutes() -> None:
    clock = TurningClock()
    async with world() as seen, open_client(known := Known(seen.line.port), clock) as client:
        for _ in range(16):
            assert await status(client) == 200
            await clock.turn(60.0)
        assert known.loads == 1 + 3


async def test_who_is_not_known_any_more_looks_again_but_not_all_the_time() -> None:
    clock = TurningClock()
    async with world() as seen:
        seen.server.token = "first"
        async with open_client(known := Known(seen.line.port, "first"), clock) as client:
            assert await status(client) == 200
            seen.server.token = known.token = "second"
            assert [await status(client) for _ in range(3)] == [401, 401, 401]
            assert known.loads == 1
            await clock.turn(10.0)
            assert await status(client) == 200


async def test_what_cannot_be_read_anew_stays_as_it_was() -> None:
    class Lost(Known):
        async def load(self, configuration: Any) -> None:
            await super().load(configuration)
            if self.loads == 2:
                raise ValueError("half of a file")

    clock = TurningClock()
    async with world() as seen, open_client(known := Lost(seen.line.port), clock) as client:
        await clock.turn(300.0)
        assert await status(client) == 200
        await clock.turn(10.0)
        assert await status(client) == 200
        assert known.loads == 3


async def test_a_question_ends_over_the_client_it_began_with() -> None:
    clock = TurningClock()
    async with world() as seen, open_client(Known(seen.line.port), clock) as client, AsyncExitStack() as open_ones:
        method, url, headers, *_ = await client.param_serialize(
            "GET", "/api/v1/services?watch=true&resourceVersion=1&timeoutSeconds=1"
        )
        watch = (await client.call_api(method, url, headers)).response
        open_ones.callback(watch.close)
        await clock.turn(300.0)
        assert await status(client) == 200
        assert b"BOOKMARK" in await watch.read()


async def test_who_has_no_credentials_does_not_begin() -> None:
    class Nobody(Known):
        async def load(self, configuration: Any) -> None:
            raise FileNotFoundError("no token")

    with pytest.raises(Unreachable, match="no token"):
        async with open_client(Nobody(1), TurningClock()):
            pass
