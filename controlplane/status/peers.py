"""Replicas among themselves: the one that writes status asks the others what their proxies run.

POST /v1/progress, at the port where agents ask for certificates, over mutual TLS: who asks shows a certificate of the
control plane's own account, and who answers is called by the name of its Service. Nobody else is answered, and nothing
can be changed this way. A question is an object's name 150 times at most, an answer a mebibyte, both together a second.

The leader asks, and is told nothing unasked: it alone knows what it is about to speak of, and a replica that believes
it leads, but does not, only asks in vain.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final, Protocol

import msgspec

from controlplane.base.clock import Clock
from controlplane.base.identity import Identity
from controlplane.model.problem import ObjectRef
from controlplane.runtime.https import Answer, Request, Route, answer, error
from controlplane.runtime.tls import Generation, client_context
from controlplane.security.apiserver import LARGEST, NoAnswer, body
from controlplane.security.heldcertificate import holder_of
from controlplane.security.refusal import Refusal
from controlplane.status.parts import MOST_ASKED, Report

PATH: Final = "/v1/progress"
_PATIENCE: Final = 1.0  # seconds for an answer


class Replica(msgspec.Struct, frozen=True):
    """Another one."""

    pod: str
    host: str  # its address
    server_name: str  # what its certificate says


class Question(msgspec.Struct, frozen=True):
    """Which objects are asked for."""

    objects: Annotated[tuple[ObjectRef, ...], msgspec.Meta(max_length=MOST_ASKED)] = ()


# What we know of objects; None: nothing yet, for not everything was read.
Knows = Callable[[Sequence[ObjectRef]], Report | None]


def _nothing(_refs: Sequence[ObjectRef]) -> None:
    """Before anything is known."""


class PeerEndpoint:
    """Answers other replicas."""

    def __init__(self, own: Identity, trust_domains: Collection[str], clock: Clock) -> None:
        """`own`: ours, and that of all replicas, in any of the trust domains."""
        self._own = own
        self._trust_domains = trust_domains
        self._clock = clock
        self.knows: Knows = _nothing

    def routes(self) -> Sequence[Route]:
        """For an HTTPS server."""
        return (Route("POST", PATH, self._progress, "another replica, by certificate"),)

    async def _progress(self, request: Request) -> Answer:
        caller = holder_of(request.certificate, self._trust_domains, self._clock.now()) if request.certificate else None
        if caller is None or isinstance(caller, Refusal):
            return error(401, "unauthenticated", caller.message if caller else "a certificate is needed here")
        if caller._replace(trust_domain=self._own.trust_domain) != self._own:
            return error(403, "forbidden", "this is for replicas of the control plane")
        asked = await request.json(Question)
        known = self.knows(asked.objects)
        return answer(known) if known is not None else error(503, "unavailable", "not everything was read yet")


class Peers(Protocol):
    """Other replicas, to be asked."""

    async def ask(self, replica: Replica, refs: Sequence[ObjectRef]) -> Report:
        """Raises NoAnswer."""
        ...


class HttpsPeers:
    """See `Peers`."""

    def __init__(self, session: Any, generation: Generation, port: int) -> None:
        """`session`: an `aiohttp.ClientSession`."""
        self.session = session
        self._port = port
        self.tls = client_context(generation)

    def use(self, generation: Generation) -> None:
        """Call with another certificate and other roots from here on."""
        self.tls = client_context(generation)

    async def ask(self, replica: Replica, refs: Sequence[ObjectRef]) -> Report:
        """See `Peers`."""
        import aiohttp  # noqa: PLC0415  a tenth of a second

        host = f"[{replica.host}]" if ":" in replica.host else replica.host
        try:
            async with (
                asyncio.timeout(_PATIENCE),
                self.session.post(
                    f"https://{host}:{self._port}{PATH}",
                    data=msgspec.json.encode(Question(tuple(refs))),
                    ssl=self.tls,
                    server_hostname=replica.server_name,
                    allow_redirects=False,
                ) as response,
            ):
                if response.status != 200:
                    raise NoAnswer(f"it answers with status {response.status}")
                return msgspec.json.decode(await body(response, LARGEST), type=Report)
        except TimeoutError as failed:
            raise NoAnswer(f"it does not answer within {_PATIENCE:.0f} s") from failed
        except (aiohttp.ClientError, OSError, ValueError, RecursionError) as failed:
            raise NoAnswer(f"it cannot be asked: {failed}") from failed


@asynccontextmanager
async def open_peers(generation: Generation, port: int) -> AsyncIterator[HttpsPeers]:
    """Until left. Connections stay open between questions."""
    import aiohttp  # noqa: PLC0415  as above

    async with aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=False
    ) as session:
        yield HttpsPeers(session, generation, port)
