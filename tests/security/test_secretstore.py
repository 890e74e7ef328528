"""Roots in a Secret, over real HTTP: one maker of the first, and nothing written over what somebody else wrote."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration, CoreV1Api

from controlplane.security.keeping import AuthorityError, StoreError
from controlplane.security.rotation import Roots, Step, begin
from controlplane.security.secretstore import KEY, NAME, SecretStore
from controlplane.security.sources import OwnRoots
from tests.runtime.turning import TurningClock
from tests.security.apiservers import Secrets, api_server
from tests.security.requests import root, same_roots
from tests.security.serving import SECRETS

PLACE = f"lateen-system/{NAME}"


@asynccontextmanager
async def kept() -> AsyncIterator[tuple[Secrets, SecretStore]]:
    server = Secrets()
    async with api_server(server) as client:
        yield server, SecretStore(CoreV1Api(client), "lateen-system")


def own(store: SecretStore) -> OwnRoots:
    """One control plane's."""
    return OwnRoots(store, "cluster.local", SECRETS, TurningClock())


async def test_what_is_kept_is_loaded():
    async with kept() as (server, store):
        assert await store.load() is None
        first = await store.create(Roots(root(1)))
        assert first is not None
        trusting = begin(first.roots, root(2))
        assert isinstance(trusting, Roots)
        second = await store.replace(trusting, first)
        assert second is not None
        found = await store.load()
        assert found is not None
        assert same_roots(found.roots, trusting)
        assert found.revision == second.revision
        assert server.requests == ["GET", "POST", "PATCH", "GET"]
        assert str(store) == f"Secret {PLACE}"


async def test_of_many_who_start_at_once_one_makes_the_root_and_all_have_it():
    async with kept() as (server, store):
        barrier = asyncio.Barrier(8)

        async def together(method: str) -> None:
            if method == "POST":
                await barrier.wait()

        server.before = together
        found = await asyncio.gather(*(own(store).open(()) for _ in range(8)))
        assert all(same_roots(one, found[0]) for one in found)
        assert server.requests.count("POST") == 8


async def test_what_changed_meanwhile_is_not_written_over():
    async with kept() as (server, store):
        first = await store.create(Roots(root(1)))
        assert first is not None
        trusting = begin(first.roots, root(2))
        assert isinstance(trusting, Roots)
        assert await store.replace(trusting, first) is not None
        assert await store.replace(Roots(root(3)), first) is None
        found = await store.load()
        assert found is not None
        assert same_roots(found.roots, trusting)
        server.objects.clear()
        assert await store.replace(trusting, found) is None


async def test_labels_of_others_stay_and_stand_in_nobodys_way():
    async with kept() as (server, store):
        roots = own(store)
        await roots.open(())
        server.touch(PLACE)
        changed = await roots.change(lambda now: begin(now, root(2)))
        assert isinstance(changed, Roots)
        assert changed.step is Step.TRUSTING
        assert server.objects[PLACE]["metadata"]["labels"] == {"seen": "yes"}
        server.touch(PLACE)
        assert await roots.look() is None, "a label is no change of the roots"


async def test_a_step_of_another_control_plane_is_seen_and_not_taken_twice():
    async with kept() as (_, store):
        one, other = own(store), own(store)
        await one.open(())
        await other.open(())
        taken = await one.change(lambda now: begin(now, root(2)))
        assert isinstance(taken, Roots)
        refused = await other.change(lambda now: begin(now, root(3)))
        assert not isinstance(refused, Roots)
        assert "another control plane" in refused.message
        seen = await other.look()
        assert seen is not None
        assert same_roots(seen, taken)
        assert await other.look() is None


async def test_a_secret_that_is_removed_while_we_run_is_put_back():
    async with kept() as (server, store):
        roots = own(store)
        opened = await roots.open(())
        server.objects.clear()
        assert await roots.look() is None
        found = await store.load()
        assert found is not None
        assert same_roots(found.roots, opened)


@pytest.mark.parametrize(
    "data",
    [None, {}, {"other": ""}, {KEY: "not base64!"}, {KEY: ""}, {KEY: b64encode(b"{}").decode()}],
)  # fmt: skip
async def test_a_secret_that_cannot_be_read_is_never_replaced_by_a_new_root(data):
    async with kept() as (server, store):
        await store.create(Roots(root()))
        server.objects[PLACE]["data"] = data
        before = json.dumps(server.objects)
        with pytest.raises(AuthorityError, match="backup"):
            await own(store).open(())
        assert json.dumps(server.objects) == before


BROKEN: dict[str, Any] = {
    "403": lambda: web.Response(status=403),
    "500": lambda: web.Response(status=500),
    "202": lambda: web.json_response({}, status=202),
    "no JSON": lambda: web.Response(status=200, text="<html>"),
    "no version": lambda: web.json_response({"metadata": {}}),
    "large": lambda: web.Response(status=200, text=" " * 2_000_000),
}


@pytest.mark.parametrize("said", BROKEN.values(), ids=BROKEN)
async def test_an_api_server_that_answers_nonsense_makes_no_new_root(said):
    async with kept() as (server, store):
        server.broken = said()
        with pytest.raises(StoreError, match=PLACE):
            await own(store).open(())


async def test_an_api_server_that_is_gone_makes_no_new_root():
    async with ApiClient(Configuration(host="http://127.0.0.1:1")) as nowhere:
        with pytest.raises(StoreError, match=PLACE):
            await own(SecretStore(CoreV1Api(nowhere), "lateen-system")).open(())
