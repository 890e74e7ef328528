"""Who we are to an API server, and what becomes of that while we run."""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random  # noqa: TID251  the same each time
from typing import Any

import pytest

from controlplane.runtime.clock import SystemClock
from controlplane.sources.kubernetes.access import Access, KubeConfig, Patience, Pod, Unreachable, credentials
from controlplane.sources.kubernetes.reflector import Pace
from tests.sources.kubernetes.serving import IMPATIENT, Known, World, world


def kubeconfig(path: Path, port: int, **user: Any) -> KubeConfig:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "here", "cluster": {"server": f"http://127.0.0.1:{port}"}},
            {"name": "nowhere", "cluster": {"server": "http://127.0.0.1:1"}},
        ],
        "users": [{"name": "me", "user": user}],
        "contexts": [
            {"name": "here", "context": {"cluster": "here", "user": "me"}},
            {"name": "nowhere", "context": {"cluster": "nowhere", "user": "me"}},
        ],
        "current-context": "nowhere",
    }
    path.write_text(json.dumps(document))
    return KubeConfig(str(path), "here")


async def status(access: Access) -> int:
    async with access.get("/apis", {}, {"Accept": "apidiscovery.k8s.io"}) as answer:
        return answer.status


def access_by(found: Any) -> Access:
    return Access(found, SystemClock(), Random(1).random, patience=IMPATIENT)


async def test_the_token_of_a_kubeconfig_and_its_context(tmp_path: Path) -> None:
    async with world() as seen:
        seen.server.token = "right"
        access = access_by(kubeconfig(tmp_path / "config", seen.line.port, token="right"))
        assert await status(access) == 200
        await access.close()


async def test_a_token_that_is_renewed_is_read_anew(tmp_path: Path) -> None:
    async with world() as seen:
        seen.server.token = "first"
        token = tmp_path / "token"
        token.write_text("first")
        access = access_by(kubeconfig(tmp_path / "config", seen.line.port, tokenFile=str(token)))
        assert await status(access) == 200
        seen.server.token = "second"
        assert await status(access) == 401, "asked twice at most"
        token.write_text("second")
        assert await status(access) == 200
        await access.close()


async def test_a_plugin_gives_a_token_each_time(tmp_path: Path) -> None:
    script = tmp_path / "plugin.py"
    script.write_text(
        "import json, pathlib\n"
        f"token = pathlib.Path({str(tmp_path / 'token')!r}).read_text()\n"
        "said = {'apiVersion': 'client.authentication.k8s.io/v1', 'kind': 'ExecCredential', 'status': {'token': token}}\n"
        "print(json.dumps(said))\n"
    )
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable, "args": [str(script)]}
    async with world() as seen:
        access = access_by(kubeconfig(tmp_path / "config", seen.line.port, exec=plugin))
        for token in ("one", "two"):
            seen.server.token = token
            (tmp_path / "token").write_text(token)
            assert await status(access) == 200
        (tmp_path / "token").unlink()
        seen.server.token = "three"
        with pytest.raises(Unreachable, match="gave no credentials"):
            await status(access)
        assert access.away
        (tmp_path / "token").write_text("three")
        assert await status(access) == 200
        assert not access.away
        await access.close()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "clusters: []", "apiVersion: v1\ncurrent-context: x", "\x00", "a: [b"]
)
async def test_a_kubeconfig_that_is_none_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(text)
    access = access_by(KubeConfig(str(tmp_path / "config")))
    with pytest.raises(Unreachable):
        await status(access)
    assert access.away
    assert "\n" not in access.away


async def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    access = access_by(KubeConfig(str(tmp_path / "none")))
    with pytest.raises(Unreachable, match=r"there is no kubeconfig .*none"):
        await status(access)


async def test_who_is_moved_is_found_again(tmp_path: Path) -> None:
    """A kubeconfig that is written anew while nobody answers."""
    async with world() as seen:
        found = kubeconfig(tmp_path / "config", 1, token="x")
        access = access_by(found)
        with pytest.raises(Unreachable):
            await status(access)
        kubeconfig(tmp_path / "config", seen.line.port, token="x")
        assert await status(access) == 200
        await access.close()


async def test_what_is_under_way_goes_on_while_credentials_change() -> None:
    async with world() as seen:
        seen.server.token = "first"
        seen.credentials.token = "first"
        query = {"watch": "true", "resourceVersion": "100", "timeoutSeconds": "1"}
        async with seen.access.get("/api/v1/services", query, {}) as watch:
            seen.server.token = seen.credentials.token = "second"
            assert await status(seen.access) == 200
            assert seen.credentials.loads == 2
            chunks = [chunk async for chunk in watch.chunks()]
        assert b"BOOKMARK" in b"".join(chunks)


@pytest.mark.parametrize("is_away", [False, True], ids=["refused", "unreachable"])
async def test_who_is_cut_off_while_credentials_are_read_anew_leaves_nothing_open(
    *, is_away: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = asyncio.Event()

    async def for_ever(_client: object) -> bool:
        waits.set()
        return await asyncio.Event().wait()

    async with world() as seen:
        assert await status(seen.access) == 200
        client = seen.access._client
        assert client is not None
        monkeypatch.setattr(seen.access, "_outdated", for_ever)
        seen.server.token = "another"
        if is_away:
            await seen.line.close()
        asked = asyncio.ensure_future(status(seen.access))
        await asyncio.wait_for(waits.wait(), 5)
        assert client.users == 1
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        assert client.users == 0
        if is_away:
            await seen.line.open()


async def test_one_asks_while_nobody_answers() -> None:
    async with world() as seen:
        await seen.line.close()
        tries = [asyncio.ensure_future(_tried(seen)) for _ in range(20)]
        await seen.until(lambda: bool(seen.access.away))
        before = seen.access.requests
        await asyncio.sleep(0.5)
        assert 1 <= seen.access.requests - before <= 15, "a tenth of a second apart at most, by one of them"
        await seen.line.open()
        await asyncio.wait_for(asyncio.gather(*tries), 5)


async def _tried(seen: World) -> None:
    while True:
        try:
            assert await status(seen.access) == 200
        except Unreachable:
            continue
        return


def test_a_connection_that_is_dead_is_noticed_within_30_seconds() -> None:
    """A watch ends by itself before it is taken for dead, and any other answer comes or does not."""
    assert Pace().watch + Patience().late < 30
    assert Patience().answer <= 30
    assert Patience().connect + Patience().unreached.longest < 10, "and one that is back is found soon"


async def test_credentials_are_read_anew_now_and_then() -> None:
    now = [0.0]

    class Clock(SystemClock):
        def monotonic(self) -> float:
            return now[0]

    async with world() as seen:
        known = Known(seen.line.port)
        access = Access(known, Clock(), Random(1).random, patience=IMPATIENT)
        for minutes in range(12):
            now[0] = minutes * 60.0
            assert await status(access) == 200
        assert known.loads == 3
        await access.close()


@pytest.mark.parametrize(
    ("there", "named", "expected"),
    [(True, None, Pod()), (True, "file", KubeConfig("file")), (False, None, KubeConfig())],
)
def test_a_pod_is_itself_unless_told_otherwise(
    *, there: bool, named: str | None, expected: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    exists: Callable[[Path], bool] = lambda _path: there  # noqa: E731
    monkeypatch.setattr(Path, "is_file", exists)
    assert credentials(named, None) == expected
