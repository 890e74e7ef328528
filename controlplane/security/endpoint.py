"""What agents ask of the control plane over HTTPS.

POST /v1/certificates    a certificate for the key of a CSR, and with a node the files its Envoy starts with
POST /v1/reports         which roots an agent trusts, and whose its certificate is
GET  /healthz/live, /healthz/ready

Who calls is known before a body is read, and it is the only name that ever enters a certificate. A node is a claim, and
one that does not fit its caller gets nothing. Errors are `{"why": a stable word, "message": a sentence}`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
import structlog

from controlplane.base.clock import Clock
from controlplane.base.identity import Identity
from controlplane.runtime.buckets import Buckets, Rate
from controlplane.runtime.https import Answer, Request, Route, answer, error
from controlplane.security.authorities import Authorities
from controlplane.security.callers import Callers, network_of
from controlplane.security.claims import refused_claim
from controlplane.security.holders import Report
from controlplane.security.issuing import Lifetimes, issue
from controlplane.security.refusal import Refusal, Why

log = structlog.get_logger(__name__)

_STATUS: Final = {
    Why.MALFORMED: 400,
    Why.UNPROVEN: 400,
    Why.KEY: 400,
    Why.UNAUTHENTICATED: 401,
    Why.IDENTITY: 403,
    Why.FORBIDDEN: 403,
    Why.STEP: 409,
    Why.BUSY: 429,
    Why.AUTHORITY: 503,
    Why.UNAVAILABLE: 503,
}
_MOST: Final = 10**12  # seconds anybody may ask for; what is granted is clamped
_TOLD: Final = Rate(burst=20, per_second=0.2)  # refusals of one address in the log: strangers do not fill it

_Text = Annotated[str, msgspec.Meta(max_length=1024)]
_Digest = Annotated[str, msgspec.Meta(max_length=64)]


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a proxy says of itself: Envoy's node."""

    id: _Text
    cluster: _Text = ""
    metadata: dict[str, Any] = {}
    locality: _Text = ""  # "region/zone/subzone"


class _CertificateRequest(msgspec.Struct, frozen=True):
    csr: str
    seconds: Annotated[int, msgspec.Meta(ge=-_MOST, le=_MOST)] | None = None
    node: Node | None = None


class _CertificateAnswer(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    chain: str
    not_before: datetime
    not_after: datetime
    files: Mapping[str, str] | None = None


class _ReportRequest(msgspec.Struct, frozen=True, rename="camel"):
    node: _Text
    roots: Annotated[list[_Digest], msgspec.Meta(max_length=64)]
    issued_by: _Digest
    not_after: Annotated[datetime, msgspec.Meta(tz=True)]


# The files an Envoy starts with, by name, for a node that its caller may speak for.
Bootstraps = Callable[[Identity, Node], Awaitable[Mapping[str, str] | Refusal]]


class Endpoint:
    """Answers agents."""

    def __init__(  # noqa: PLR0913 - everything it needs comes in here
        self,
        callers: Callers,
        authorities: Authorities,
        bootstraps: Bootstraps,
        *,
        rate: Buckets[Identity],
        clock: Clock,
        serial: Callable[[], int],
        lifetimes: Lifetimes,
        ready: Callable[[], bool],
    ) -> None:
        """`rate`: how often an identity may ask."""
        self._callers = callers
        self._authorities = authorities
        self._bootstraps = bootstraps
        self._rate = rate
        self._clock = clock
        self._serial = serial
        self._lifetimes = lifetimes
        self._ready = ready
        self._told: Buckets[str] = Buckets(clock, _TOLD)

    def routes(self) -> Sequence[Route]:
        """For an HTTPS server."""
        return (
            Route("POST", "/v1/certificates", self._certificates, "a workload, by token or certificate"),
            Route("POST", "/v1/reports", self._reports, "a workload, by certificate"),
            Route("GET", "/healthz/live", self._live, "anybody"),
            Route("GET", "/healthz/ready", self._is_ready, "anybody"),
        )

    async def _certificates(self, request: Request) -> Answer:
        caller = await self._callers.by_any(request.headers.get("Authorization"), request.certificate, request.address)
        if isinstance(caller, Refusal):
            return self._refused(caller, request)
        if wait := self._rate.take(caller):
            return self._refused(Refusal(Why.BUSY, f"{caller.uri} asks too often", wait), request)
        asked = await request.json(_CertificateRequest)
        found = await self._issued(caller, asked)
        return self._refused(found, request, caller) if isinstance(found, Refusal) else answer(found)

    async def _issued(self, caller: Identity, asked: _CertificateRequest) -> _CertificateAnswer | Refusal:
        """Everything that was asked for, or nothing."""
        files = await self._files(caller, asked.node) if asked.node is not None else None
        if isinstance(files, Refusal):
            return files
        serial = self._serial()
        issued = await asyncio.to_thread(
            issue,
            asked.csr.encode(errors="replace"),
            caller,
            self._authorities.issuer,
            now=self._clock.now(),
            serial=serial,
            asked=None if asked.seconds is None else timedelta(seconds=asked.seconds),
            lifetimes=self._lifetimes,
        )
        if isinstance(issued, Refusal):
            return issued
        log.info("certificate issued", identity=caller.uri, serial=f"{serial:x}", until=str(issued.not_after))
        return _CertificateAnswer(issued.chain.decode(), issued.not_before, issued.not_after, files)

    async def _files(self, caller: Identity, node: Node) -> Mapping[str, str] | Refusal:
        return refused_claim(caller, node.id, node.metadata) or await self._bootstraps(caller, node)

    async def _reports(self, request: Request) -> Answer:
        caller = self._callers.by_certificate(request.certificate)
        if isinstance(caller, Refusal):
            return self._refused(caller, request)
        if wait := self._rate.take(caller):
            return self._refused(Refusal(Why.BUSY, f"{caller.uri} asks too often", wait), request)
        said = await request.json(_ReportRequest)
        if (refused := refused_claim(caller, said.node, {})) is not None:
            return self._refused(refused, request, caller)
        report = Report(frozenset(said.roots), said.issued_by, said.not_after)
        self._authorities.holders.heard(caller, said.node, report)
        return answer({})

    def _refused(self, refusal: Refusal, request: Request, caller: Identity | None = None) -> Answer:
        if not self._told.take(network_of(request.address)):
            identity = caller.uri if caller is not None else ""
            log.info(
                "refused",
                path=request.path,
                why=str(refusal.why),
                message=refusal.message,
                address=request.address,
                identity=identity,
            )
        return error(_STATUS[refusal.why], str(refusal.why), refusal.message, refusal.retry_after)

    async def _live(self, _request: Request) -> Answer:
        return _word("live")

    async def _is_ready(self, _request: Request) -> Answer:
        return _word("ready") if self._ready() else _word("starting", 503)


def _word(word: str, status: int = 200) -> Answer:
    return Answer(status, word.encode(), content_type="text/plain; charset=utf-8")
