"""Tokens that an API server reviews, over real HTTP, with answers that are hostile, odd, slow or missing."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random  # noqa: TID251  the same mutations each time
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, AuthenticationV1Api, Configuration

from controlplane.base.identity import Identity
from controlplane.runtime.buckets import Buckets, Rate
from controlplane.security.callers import Callers
from controlplane.security.refusal import Refusal, Why
from controlplane.security.tokenreview import ReviewLimits, TokenReviews
from tests.runtime.turning import TurningClock
from tests.security.apiservers import Reviews, api_server
from tests.security.requests import CALLER, NOW
from tests.security.serving import served

GOOD: dict[str, Any] = {
    "authenticated": True,
    "user": {"username": "system:serviceaccount:shop:web", "uid": "7", "groups": ["system:serviceaccounts"]},
    "audiences": ["istio-ca"],
}


class World:
    def __init__(self, server: Reviews, reviews: TokenReviews, clock: TurningClock) -> None:
        self.server, self.reviews, self.clock = server, reviews, clock
        self.callers = Callers(reviews, ("cluster.local",), Buckets(clock, Rate(10**9, 1)), lambda: NOW)

    async def ask(self, token: str) -> Identity | Refusal:
        """As a caller's."""
        return await self.callers.by_any(f"Bearer {token}", b"", "10.0.0.1")


@asynccontextmanager
async def world(**limits: Any) -> AsyncIterator[World]:
    server, clock = Reviews(), TurningClock()
    async with api_server(server) as client:
        api = AuthenticationV1Api(client)
        yield World(server, TokenReviews(api, "cluster.local", clock, limits=ReviewLimits(**limits)), clock)


def answer(**changed: Any) -> dict[str, Any]:
    return {key: value for key, value in (GOOD | changed).items() if value is not ...}


def user(name: Any) -> dict[str, Any]:
    return answer(user={"username": name})


async def test_a_good_token_is_its_service_accounts():
    async with world() as here:
        here.server.said["good"] = GOOD
        assert await here.ask("good") == CALLER


REFUSED = {
    "not authenticated": answer(authenticated=False),
    "nothing said": answer(authenticated=...),
    "authenticated, with an error": answer(error="the token has been invalidated"),
    "no audiences": answer(audiences=...),
    "null audiences": answer(audiences=None),
    "empty audiences": answer(audiences=[]),
    "another audience": answer(audiences=["https://kubernetes.default.svc"]),
    "an audience like ours": answer(audiences=["istio-ca2", "Istio-CA", "istio-ca "]),
    "no user": answer(user=...),
    "null user": answer(user=None),
    "no name": answer(user={}),
    "a person": user("alice"),
    "a node": user("system:node:worker-1"),
    "anonymous": user("system:anonymous"),
    "a prefix": user("system:serviceaccount:"),
    "one part": user("system:serviceaccount:shop"),
    "no namespace": user("system:serviceaccount::web"),
    "no account": user("system:serviceaccount:shop:"),
    "three parts": user("system:serviceaccount:shop:web:x"),
    "another prefix": user("System:ServiceAccount:shop:web"),
    "a prefix before": user("x system:serviceaccount:shop:web"),
    "the prefix twice": user("system:serviceaccount:system:serviceaccount:shop:web"),
    "a slash": user("system:serviceaccount:shop/sa/x:web"),
    "a NUL": user("system:serviceaccount:shop:web\0"),
    "a line": user("system:serviceaccount:shop:web\n"),
    "dots": user("system:serviceaccount:..:web"),
    "unsuitable": web.json_response({"kind": "Status"}, status=400),
    "unprocessable": web.json_response({"kind": "Status"}, status=422),
}


@pytest.mark.parametrize("said", REFUSED.values(), ids=REFUSED)
async def test_what_falls_short_of_a_yes_is_a_no(said):
    async with world() as here:
        here.server.said["token"] = said
        found = await here.ask("token")
        assert isinstance(found, Refusal)
        assert found.why is Why.UNAUTHENTICATED
        assert "token" in found.message


NONSENSE: dict[str, Any] = {
    "500": lambda: web.Response(status=500),
    "503": lambda: web.json_response(GOOD, status=503),
    "429": lambda: web.Response(status=429),
    "202": lambda: web.json_response({"status": GOOD}, status=202),
    "401": lambda: web.Response(status=401),
    "403": lambda: web.Response(status=403),
    "404": lambda: web.Response(status=404),
    "no JSON": lambda: web.Response(status=201, text="<html>"),
    "nothing": lambda: web.Response(status=201),
    "a list": lambda: web.json_response([GOOD], status=201),
    "no status": lambda: web.json_response({"kind": "TokenReview"}, status=201),
    "yes in words": lambda: web.json_response({"status": answer(authenticated="true")}, status=201),
    "yes as a number": lambda: web.json_response({"status": answer(authenticated=1)}, status=201),
    "audiences as a text": lambda: web.json_response({"status": answer(audiences="istio-ca")}, status=201),
    "a name that is a list": lambda: web.json_response({"status": user(["system:serviceaccount:shop:web"])}, status=201),
    "deep": lambda: web.Response(status=201, text='{"status":' + "[" * 100_000),
    "large": lambda: web.Response(status=201, text=json.dumps({"status": GOOD}) + " " * 2_000_000),
}  # fmt: skip


@pytest.mark.parametrize("said", NONSENSE.values(), ids=NONSENSE)
async def test_an_answer_that_is_none_is_not_the_callers_fault(said):
    async with world() as here:
        here.server.said["token"] = said()
        found = await here.ask("token")
        assert isinstance(found, Refusal)
        assert found.why is Why.UNAVAILABLE
        here.server.said["token"] = GOOD
        assert await here.ask("token") == CALLER, "nothing is remembered of it"


async def test_an_api_server_that_is_slow_or_gone_is_not_the_callers_fault():
    async with world(patience=0.2) as here:
        here.server.hold = asyncio.Event()
        found = await here.ask("token")
        assert isinstance(found, Refusal)
        assert found.why is Why.UNAVAILABLE
        here.server.hold.set()
    async with ApiClient(Configuration(host="http://127.0.0.1:1")) as nowhere:
        reviews = TokenReviews(AuthenticationV1Api(nowhere), "cluster.local", TurningClock())
        found = await reviews.ask("token")
        assert isinstance(found, Refusal)
        assert found.why is Why.UNAVAILABLE


async def test_answers_are_remembered_for_a_while_by_digest_and_no_longer():
    async with world(good_for=30, bad_for=5) as here:
        here.server.said["eyJ0eXAi"] = GOOD
        for _ in range(3):
            assert await here.ask("eyJ0eXAi") == CALLER
            assert isinstance(await here.ask("bad"), Refusal)
        assert here.server.asked == ["eyJ0eXAi", "bad"]
        assert "eyJ0eXAi" not in repr(vars(here.reviews)), "the token itself is kept nowhere"
        await here.clock.turn(6)
        await here.ask("eyJ0eXAi")
        await here.ask("bad")
        assert here.server.asked == ["eyJ0eXAi", "bad", "bad"]
        await here.clock.turn(25)
        here.server.said["eyJ0eXAi"] = answer(authenticated=False)
        assert isinstance(await here.ask("eyJ0eXAi"), Refusal), "it is not good any more"


async def test_what_is_remembered_is_bounded():
    async with world(remembered=10) as here:
        for number in range(30):
            await here.ask(f"guess{number}")
        assert len(here.reviews._answers) == 10


async def test_one_token_asked_for_many_times_at_once_is_few_questions():
    async with world(at_once=3) as here:
        here.server.said["good"] = GOOD
        here.server.hold = asyncio.Event()
        asking = [asyncio.ensure_future(here.ask("good")) for _ in range(100)]
        await _until(lambda: here.server.at_once == 3)
        here.server.hold.set()
        assert await asyncio.gather(*asking) == [CALLER] * 100
        assert here.server.most_at_once == 3
        assert len(here.server.asked) == 3


async def test_callers_that_wait_are_bounded_too():
    async with world(at_once=1, waiting=5) as here:
        here.server.hold = asyncio.Event()
        asking = [asyncio.ensure_future(here.ask(f"token{number}")) for number in range(5)]
        await _until(lambda: here.server.at_once == 1)
        found = await here.ask("more")
        assert isinstance(found, Refusal)
        assert found.why is Why.BUSY
        assert found.retry_after > 0
        here.server.hold.set()
        await asyncio.gather(*asking)
        assert here.reviews._waiting == 0


@pytest.mark.parametrize(
    ("said", "status"), [(GOOD, 200), (answer(audiences=[]), 401), (web.Response(status=500), 503)]
)
async def test_over_the_wire(tmp_path, said, status):
    async with world() as here, served(tmp_path, tokens=here.reviews) as endpoint:
        here.server.said["token"] = said
        assert (await endpoint.issue("token")).status == status


@pytest.mark.point
async def test_mutated_answers_are_a_yes_only_for_the_account_they_name(size, proved):
    """Answers with parts changed, cut or moved: an identity only ever comes from one that is whole and says so."""
    random, taken, asked = Random(1848), 0, size(500, 10_000, 100_000)
    async with world(remembered=10) as here:
        for number in range(asked):
            text = _mutated(random, json.dumps({"status": GOOD}))
            here.server.said[f"token{number}"] = web.Response(status=201, body=text.encode())
            found = await here.ask(f"token{number}")
            if isinstance(found, Refusal):
                continue
            taken += 1
            said = json.loads(text)["status"]
            assert said["authenticated"] is True
            assert "istio-ca" in said["audiences"]
            assert not said.get("error")
            assert said["user"]["username"] == f"system:serviceaccount:{found.namespace}:{found.account}"
    proved(
        "identity 4",
        "mutated token reviews",
        bound="no identity that the review does not give",
        figure=f"{taken} taken, each as said",
        holds=taken > 0,
        cases=asked,
        asked=asked,
    )


def _mutated(random: Random, text: str) -> str:
    at = random.randrange(len(text))
    match random.randrange(5):
        case 0:
            return text[:at] + random.choice('abc:/"{}[],7\\ ') + text[at + 1 :]
        case 1:
            return text[:at] + text[at + 1 :]
        case 2:
            end = random.randrange(at, len(text))
            return text[:at] + text[at:end] * 2 + text[end:]
        case 3:
            one, other = random.sample(["true", "false", "null", "istio-ca", "shop", "web", "serviceaccount"], 2)
            return text.replace(one, other)
        case _:
            return text[:at]


async def _until(holds: Any) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110  the server has no event for tests
            await asyncio.sleep(0.01)
