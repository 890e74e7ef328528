"""`lateen ca` against a running authority, through its debug socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from controlplane.cli.main import run
from controlplane.local.authority import authority_actions, authority_routes
from controlplane.local.statedir import state_directory
from controlplane.runtime.unixhttp import serving
from controlplane.security.authorities import Authorities, open_authorities
from controlplane.security.filestore import FileBundle, FileStore
from controlplane.security.holders import Holder, Holders, Report, root_ids, signer_id
from controlplane.security.keeping import StoreError
from controlplane.security.sources import OwnRoots, PluggedRoots, RootSource
from tests.runtime.turning import START, TurningClock
from tests.security.plugging import Plugged
from tests.security.serving import SECRETS
from tests.security.test_authorities import EVER, NODE, WEB

Say = Callable[..., Awaitable[tuple[int, str, str]]]


class Bundle(FileBundle):
    failing = False

    async def publish(self, bundle: bytes) -> None:
        if self.failing:
            raise StoreError("no room")
        await super().publish(bundle)


class World:
    """One authority and the proxies it knows."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock, self.connected = folder, TurningClock(), list[Holder]()
        self.bundle = Bundle(folder / "trusted.pem")
        self.authorities: Authorities

    async def open(self, source: RootSource | None = None) -> None:
        source = source or OwnRoots(FileStore(self.folder), "cluster.local", SECRETS, self.clock)
        holders = Holders(self.clock, lambda: self.connected, settled=0.0)
        self.authorities = await open_authorities(source, holders, (self.bundle,))

    def report(self) -> None:
        roots, signer = root_ids(self.authorities.roots.trusted), signer_id(self.authorities.issuer)
        self.authorities.holders.heard(WEB, NODE, Report(roots, signer, EVER))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
async def say(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Say]:
    """Runs a command in the directory of a mesh that runs; its exit code and what it printed."""
    await world.open()

    async def command(words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = await asyncio.to_thread(run, ["ca", *words.split(), "-d", str(tmp_path)])
        printed = capsys.readouterr()
        return code, _of_command(printed.out), _of_command(printed.err)

    with state_directory((tmp_path,), "up") as state:
        there = world.authorities
        async with serving(state.debug_socket, authority_routes(there), authority_actions(there)):
            yield command


def _of_command(text: str) -> str:
    """Without what the mesh, which runs in this process, logs."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("20"))


async def test_show_says_who_signs_and_who_is_trusted(world: World, say: Say) -> None:
    code, table, where = await say("show")
    assert code == 0
    header, row = table.splitlines()
    assert header.split() == ["SUBJECT", "ISSUES", "TRUSTED", "KEY", "UNTIL", "SHA-256"]
    (root,) = root_ids(world.authorities.roots.trusted)
    assert row.split()[-1] == root
    assert "EC secp256r1" in row
    assert where == f"kept in {world.folder}/roots.json\n"
    code, found, _ = await say("show -o json")
    assert [each["sha256"] for each in json.loads(found)["trusted"]] == [root]
    assert "PRIVATE" not in found


async def test_a_rotation_from_begin_to_finish(world: World, say: Say) -> None:
    world.connected.append(Holder("shop", "web", NODE))
    world.report()
    assert (await say("rotate begin"))[0] == 0
    _, table, _ = await say("rotate status")
    assert table.split("\n")[1].startswith("trusting   switch: ")
    assert "web-7.shop      no" in table

    code, out, err = await say("rotate switch")
    assert (code, out) == (1, "")
    assert err == "lateen: not yet: 1 connected proxy (web-7.shop) must say first that they trust the new root\n"
    world.report()
    code, found, _ = await say("rotate switch -o json")
    assert code == 0
    assert json.loads(found) == {
        "step": "issuing",
        "next": "finish: trust the old root no more",
        "problem": "",
        "proxies": {"known": 1, "lacking": [], "holding": ["web-7.shop"]},
    }
    assert (await say("rotate finish"))[0] == 1
    world.report()
    assert (await say("rotate finish"))[0] == 0
    _, table, _ = await say("rotate status")
    assert [line.split()[0] for line in table.splitlines()] == ["STEP", "steady"], "who trusts one root more is there"


async def test_steps_out_of_order_are_refused_in_one_line(say: Say) -> None:
    for step in ("switch", "finish", "abandon"):
        code, out, err = await say(f"rotate {step}")
        assert (code, out) == (1, "")
        assert err.startswith("lateen: ")
        assert len(err.splitlines()) == 1
    assert (await say("rotate begin"))[0] == 0
    assert (await say("rotate begin"))[0] == 1
    assert (await say("rotate abandon"))[0] == 0


async def test_a_bundle_that_is_not_told_is_shown(world: World, say: Say) -> None:
    world.bundle.failing = True
    code, _, err = await say("rotate begin")
    assert code == 0
    assert "problem: no room" in err


async def test_a_plugged_in_authority_is_shown_and_not_rotated(world: World, say: Say, tmp_path: Path) -> None:
    folder = tmp_path / "cacerts"
    folder.mkdir()
    files = Plugged(folder, now=START)
    files.write()
    source = PluggedRoots(folder, world.clock)
    world.authorities.source, world.authorities.roots = source, await source.open(())
    _, table, err = await say("show")
    assert err == f"plugged in from {folder}\n"
    signer, root = table.splitlines()[1:]
    assert signer.split()[:3] == ["CN=signer", "yes", "by"]
    assert root.split()[:3] == ["O=cluster.local", "-", "yes"]
    code, _, err = await say("rotate begin")
    assert code == 1
    assert "root-cert.pem" in err


async def test_a_control_plane_without_an_authority_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with state_directory((tmp_path,), "serve") as state:
        async with serving(state.debug_socket, authority_routes(None), authority_actions(None)):
            for words in ("show", "rotate begin"):
                assert await asyncio.to_thread(run, ["ca", *words.split(), "-d", str(tmp_path)]) == 1
                assert "has no authority" in capsys.readouterr().err
