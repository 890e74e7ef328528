"""The application's health, asked in the platform's place.

Where every byte to the application needs the mesh's certificate, the kubelet cannot ask it. So injection rewrites the
Pod's probes to ask the agent, which asks the application as the kubelet would have: same headers, any certificate,
redirects followed as far as they stay on that host.
"""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import urljoin, urlsplit

from controlplane.agent.http.client import Address, Connect, NoAnswer, exchange, over_tcp
from controlplane.agent.http.client import Request as Question
from controlplane.agent.http.server import Request, Response, text
from controlplane.agent.probers import Grpc, HttpGet, Prober

_LARGEST: Final = 10_240  # bytes of an answer that are passed on, as the kubelet keeps of it
_MOST_REDIRECTS: Final = 10
_HOP_BY_HOP: Final = frozenset(
    {"connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)


class ProbeRunner:
    """Asks one application."""

    def __init__(self, host: str, status_port: int, source: str) -> None:
        """`source`: the address to come from; "": any."""
        self._host = host
        self._status_port = status_port
        self._source = source

    async def answer(self, prober: Prober, request: Request) -> Response:
        """What the platform gets: the application's status, or 500 when there is none."""
        try:
            async with asyncio.timeout(max(1, prober.seconds)):
                if prober.http is not None:
                    return await self._http(prober.http, request)
                if prober.grpc is not None:
                    return await self._grpc(prober.grpc, request)
                assert prober.tcp is not None
                return await self._tcp(prober.tcp.port)
        except TimeoutError:
            return text(500, f"no answer within {max(1, prober.seconds)} s")
        except NoAnswer as error:
            return text(500, str(error))

    async def _http(self, wanted: HttpGet, request: Request) -> Response:
        secure = wanted.scheme.upper() == "HTTPS"
        connect = self._connect(wanted.port, _any_certificate() if secure else None)
        headers = _passed_on(request.headers, self._status_port, wanted.port)
        base = f"{'https' if secure else 'http'}://{Address(self._host, wanted.port)}"
        url = urljoin(base, wanted.path if wanted.path.startswith("/") else f"/{wanted.path}")
        for _ in range(_MOST_REDIRECTS):
            async with exchange(connect, Question(_target(url), headers=headers)) as answer:
                if not 300 <= answer.status < 400:
                    return Response(answer.status, await answer.start(_LARGEST))
                url = urljoin(url, answer.headers.get("location", ""))
            if not url.startswith(f"{base}/"):
                return text(200, "redirected elsewhere, which is an answer")
        return text(500, f"more than {_MOST_REDIRECTS} redirects")

    async def _tcp(self, port: int) -> Response:
        try:
            _, writer = await self._connect(port)()
        except OSError as error:
            raise NoAnswer(str(error)) from error
        writer.transport.abort()
        return text(200, "connected")

    async def _grpc(self, wanted: Grpc, request: Request) -> Response:
        from controlplane.agent.http import grpchealth  # noqa: PLC0415  (a megabyte that only those pay who need it)

        authority = str(Address(self._host, wanted.port))
        agent = request.headers.get("user-agent", "lateen-agent")
        serving = await grpchealth.check(self._connect(wanted.port), authority, wanted.service or "", agent)
        return text(200, "serving") if serving else text(500, "not serving")

    def _connect(self, port: int, tls: ssl.SSLContext | None = None) -> Connect:
        return over_tcp(Address(self._host, port), tls, self._host if tls else None, self._source)


def _any_certificate() -> ssl.SSLContext:
    """As the kubelet: it asks whether the application answers, not who it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _passed_on(headers: Mapping[str, str], status_port: int, port: int) -> dict[str, str]:
    """The platform's, with the application's port instead of ours in Host."""
    host = headers.get("host", "")
    ours = f":{status_port}"
    found = {name: value for name, value in headers.items() if name not in _HOP_BY_HOP}
    return {**found, "Host": f"{host.removesuffix(ours)}:{port}" if host.endswith(ours) else host or "localhost"}


def _target(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
