"""Projected service account tokens, reviewed by the API server that issued them.

A token counts if the API server says that it is good, that it is meant for us (the audience: a token that a workload
sends elsewhere must not open this door), and that it is a service account's. Everything short of that, whatever is
missing or odd in an answer, is a refusal. An API server that does not answer is not the caller's fault, and says
nothing about the token.

What it said is remembered for a short time, by a digest, so that an agent that tries again and again is one question.
Questions under way are bounded, and so are callers that wait for their turn.
"""

import asyncio
from hashlib import sha256
from typing import Any, Final

import msgspec
import structlog

from controlplane.base.clock import Clock
from controlplane.base.identity import Identity
from controlplane.security.apiserver import NoAnswer, answered
from controlplane.security.refusal import Refusal, Why

log = structlog.get_logger(__name__)

AUDIENCE: Final = "istio-ca"
_PREFIX: Final = "system:serviceaccount:"
_NOT_ALLOWED: Final = (401, 403)  # us, to ask
_UNSUITABLE: Final = (400, 413, 422)  # a token that is none, so that there is nothing to review


class ReviewLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds and numbers."""

    patience: float = 5.0  # for one answer
    at_once: int = 16
    waiting: int = 512  # callers that wait for their turn; more are told to come back
    good_for: float = 30.0  # a yes is remembered
    bad_for: float = 5.0  # a no
    remembered: int = 10_000


class _User(msgspec.Struct, frozen=True):
    username: str = ""


class _Status(msgspec.Struct, frozen=True):
    authenticated: bool = False
    user: _User | None = None
    audiences: list[str] | None = None
    error: str = ""


class _Review(msgspec.Struct, frozen=True):
    status: _Status


class TokenReviews:
    """See `callers.TokenKind`."""

    def __init__(
        self,
        api: Any,
        trust_domain: str,
        clock: Clock,
        *,
        audience: str = AUDIENCE,
        limits: ReviewLimits | None = None,
    ) -> None:
        """`api`: `kubernetes.aio.client.AuthenticationV1Api`."""
        self._api = api
        self._trust_domain = trust_domain
        self._clock = clock
        self._audience = audience
        self._limits = limits or ReviewLimits()
        self._turns = asyncio.Semaphore(self._limits.at_once)
        self._waiting = 0
        self._answers: dict[bytes, tuple[Identity | Refusal, float]] = {}  # by digest; oldest first

    def known(self, token: str) -> Identity | None:
        found = self._remembered(_digest(token))
        return found if isinstance(found, Identity) else None

    async def ask(self, token: str) -> Identity | Refusal:
        if self._waiting >= self._limits.waiting:
            return Refusal(Why.BUSY, "too many callers wait for their tokens to be reviewed", self._limits.patience)
        self._waiting += 1
        try:
            async with self._turns:
                return self._remembered(_digest(token)) or await self._reviewed(token)
        finally:
            self._waiting -= 1

    async def _reviewed(self, token: str) -> Identity | Refusal:
        try:
            found = self._judged(await self._answer(token))
        except NoAnswer as error:
            log.warning("a token cannot be reviewed", why=str(error))
            return Refusal(Why.UNAVAILABLE, "the API server that knows your token does not answer")
        self._remember(_digest(token), found)
        return found

    async def _answer(self, token: str) -> _Status | None:
        """None: the token is none that could be reviewed. Raises NoAnswer."""
        from kubernetes.aio.client import V1TokenReview, V1TokenReviewSpec  # noqa: PLC0415  half a second

        review = V1TokenReview(spec=V1TokenReviewSpec(token=token, audiences=[self._audience]))
        asking = self._api.create_token_review_without_preload_content(review)
        status, body = await answered(asking, seconds=self._limits.patience)
        if status in _UNSUITABLE:
            return None
        if status in _NOT_ALLOWED:
            raise NoAnswer(f"we may not ask for token reviews (status {status}): bind system:auth-delegator to us")
        if status not in (200, 201):
            raise NoAnswer(f"the API server answered with status {status}")
        try:
            return msgspec.json.decode(body, type=_Review).status
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise NoAnswer(f"the API server's answer is no token review: {error}") from error

    def _judged(self, status: _Status | None) -> Identity | Refusal:
        if status is None or not status.authenticated or status.error:
            return _refused("is not good, or not any more")
        if self._audience not in (status.audiences or ()):
            return _refused(f"is not meant for {self._audience}")
        name = status.user.username if status.user is not None else ""
        namespace, separator, account = name.removeprefix(_PREFIX).partition(":")
        identity = Identity(self._trust_domain, namespace, account)
        if not name.startswith(_PREFIX) or not separator or not identity.is_spelled_right:
            return _refused("is no service account's")
        return identity

    def _remembered(self, digest: bytes) -> Identity | Refusal | None:
        found, until = self._answers.get(digest, (None, 0.0))
        return found if self._clock.monotonic() < until else None

    def _remember(self, digest: bytes, found: Identity | Refusal) -> None:
        seconds = self._limits.good_for if isinstance(found, Identity) else self._limits.bad_for
        self._answers.pop(digest, None)
        self._answers[digest] = (found, self._clock.monotonic() + seconds)
        if len(self._answers) > self._limits.remembered:
            del self._answers[next(iter(self._answers))]


def _refused(problem: str) -> Refusal:
    return Refusal(Why.UNAUTHENTICATED, f"your token {problem}")


def _digest(token: str) -> bytes:
    return sha256(token.encode()).digest()
