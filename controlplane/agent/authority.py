"""The control plane's HTTPS endpoint, as an agent sees it.

    POST /v1/certificates   {"csr", "seconds"?, "node"?} -> {"chain", "notBefore", "notAfter", "files"?}
        with a token, or with the certificate that is to be renewed
    POST /v1/reports        {"node", "roots", "issuedBy", "notAfter"} -> {}
        with the certificate
    errors                  {"why", "message"}, and Retry-After where it says so

The other end is the same contract in `security`. The server proves that it is the control plane by a certificate of the
trust bundle; whatever it says is then still bounded in size and time, and looked at before it is used.
"""

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from controlplane.agent import files
from controlplane.agent.certificate import Pair, Roots, trusting
from controlplane.agent.http.client import Address, Answer, NoAnswer, NoConnection, Request, exchange, over_tcp

_TIME: Final = 10.0  # seconds for a whole exchange
_LARGEST: Final = 1_048_576  # bytes of an answer
_LARGEST_REFUSAL: Final = 4_096
_LARGEST_TOKEN: Final = 65_536
_MOST_FILES: Final = 16
_NOT_ACCEPTED: Final = (401, 403)


class AskError(Exception):
    """There is no certificate this time. `retry_after`: seconds that the server asked us to wait."""

    retry_after: float | None = None


class Unreachable(AskError):  # noqa: N818  (who is at fault: nobody, yet)
    """Nobody answered, or nobody who could prove to be the control plane."""


class Refused(AskError):  # noqa: N818  (a decision of theirs)
    """The control plane said no."""

    def __init__(self, status: int, why: str, message: str, retry_after: float | None) -> None:
        super().__init__(f"{message} ({why})" if why else message)
        self.status = status
        self.why = why
        self.retry_after = retry_after

    @property
    def for_now(self) -> bool:
        """Whether it is about the control plane rather than about us."""
        return self.status == 429 or self.status >= 500


class BadAnswer(AskError):  # noqa: N818  (the other end's fault)
    """Something else than what the contract says came back."""


class Node(msgspec.Struct, frozen=True):
    """Who the Envoy of this workload says it is; the bootstrap is made for it."""

    id: str  # "sidecar~10.0.0.7~reviews-v1-abc.default~default.svc.cluster.local"
    cluster: str
    metadata: Mapping[str, Any]
    locality: str = ""  # "region/zone/subzone"


class Wanted(msgspec.Struct, frozen=True, omit_defaults=True):
    """A request for a certificate."""

    csr: str
    seconds: int | None = None
    node: Node | None = None


class Granted(msgspec.Struct, frozen=True):
    """A certificate, and what Envoy is started with. When it ends is in the certificate."""

    chain: str
    files: dict[str, str] = {}


class Report(msgspec.Struct, frozen=True, rename="camel"):
    """What this workload trusts and has, so that a rotation knows when it may go on."""

    node: str
    roots: tuple[str, ...]  # SHA-256 of each, DER, in hexadecimal
    issued_by: str  # SHA-256 of the issuer's SubjectPublicKeyInfo
    not_after: str  # RFC 3339


class _Refusal(msgspec.Struct):
    why: str = ""
    message: str = ""


class AuthorityClient:
    """Asks for certificates, and reports what came of them."""

    def __init__(self, address: Address, server_name: str, token: Path | None, pair: Pair) -> None:
        """`pair`: where the certificate is that is held, once there is one."""
        self._address = address
        self._server_name = server_name
        self._token = token
        self._pair = pair

    async def certificate(self, wanted: Wanted, roots: Roots, *, renewing: bool) -> Granted:
        """By the certificate that is held, when renewing and it is taken; else by the token. Raises AskError."""
        if renewing:
            try:
                return _granted(await self._post("/v1/certificates", wanted, _trusting(roots, self._pair)))
            except AskError as error:
                if self._token is None or not _about_the_certificate(error):
                    raise
        return await self._by_token(wanted, roots)

    async def report(self, report: Report, roots: Roots) -> None:
        """By the certificate that is held. Raises AskError."""
        await self._post("/v1/reports", report, _trusting(roots, self._pair))

    async def _by_token(self, wanted: Wanted, roots: Roots) -> Granted:
        headers = {"Authorization": f"Bearer {self._read_token()}"}
        return _granted(await self._post("/v1/certificates", wanted, _trusting(roots), headers))

    def _read_token(self) -> str:
        """Each time anew: projected tokens are replaced long before they end."""
        if self._token is None:
            raise Unreachable("there is no token to ask with (--token-file)")
        try:
            token = files.read_bounded(self._token, _LARGEST_TOKEN).decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Unreachable(f"the token cannot be read: {error}") from error
        if not token or not token.isprintable() or " " in token:
            raise Unreachable(f"{self._token} holds no token")
        return token

    async def _post(self, target: str, body: Any, tls: ssl.SSLContext, headers: Mapping[str, str] = {}) -> bytes:
        fixed = {"Host": self._server_name, "Content-Type": "application/json"}
        request = Request(target, "POST", {**fixed, **headers}, msgspec.json.encode(body))
        try:
            async with (
                asyncio.timeout(_TIME),
                exchange(over_tcp(self._address, tls, self._server_name), request) as answer,
            ):
                if answer.status != 200:
                    raise await _refused(answer)
                return await answer.body(_LARGEST)
        except (NoAnswer, TimeoutError) as error:
            raise Unreachable(f"{self._address}: {str(error) or f'no answer within {_TIME:.0f} s'}") from error


def _about_the_certificate(error: AskError) -> bool:
    """With TLS 1.3 a server that does not take a certificate says so after the handshake, by breaking off."""
    if isinstance(error, Refused):
        return error.status in _NOT_ACCEPTED
    return isinstance(error.__cause__, NoAnswer) and not isinstance(error.__cause__, NoConnection)


def _trusting(roots: Roots, shown: Pair | None = None) -> ssl.SSLContext:
    context = trusting(roots.certificates)
    if shown is not None:
        try:
            context.load_cert_chain(*shown)
        except OSError as error:
            raise Unreachable(f"the certificate that is held cannot be used: {error}") from error
    return context


def _granted(body: bytes) -> Granted:
    try:
        granted = msgspec.json.decode(body, type=Granted)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadAnswer(f"the control plane's answer is none: {error}") from error
    if len(granted.files) > _MOST_FILES or not all(map(_is_plain, granted.files)):
        raise BadAnswer("the control plane's answer has files with names that are not taken")
    return granted


def _is_plain(name: str) -> bool:
    """A name in our own folder: no way out of it, and none of what stands there already."""
    stem = name.removesuffix(".json")
    return stem != name and 0 < len(stem) <= 64 and stem.isascii() and stem.replace("-", "").isalnum()


async def _refused(answer: Answer) -> Refused:
    body = await answer.body(_LARGEST_REFUSAL)
    try:
        refusal = msgspec.json.decode(body, type=_Refusal)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        refusal = _Refusal()
    message = _one_line(refusal.message) or f"the control plane answered with {answer.status}"
    return Refused(answer.status, _one_line(refusal.why), message, _seconds(answer.headers.get("retry-after", "")))


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]


def _seconds(text: str) -> float | None:
    """Retry-After as a number of seconds; its other form, a date, our control plane does not use."""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 7 else None
