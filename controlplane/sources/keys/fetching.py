"""One question for keys.

The name is resolved once, every address it has must be one that may be asked, and the connection goes to one of these:
a name that leads elsewhere a moment later leads nowhere. No redirects, no proxies, no compression, 64 KiB, 5 seconds.
What is wrong with an answer is said without a word of it: whoever made us ask must not read it in a status.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from socket import AF_INET, AF_INET6, AI_NUMERICHOST, SOCK_STREAM
from typing import TYPE_CHECKING, Any, Final

import msgspec

from controlplane.model import jwks
from controlplane.model.jwksuri import DISCOVERY, Address, KeyLocation, UnusableUriError, is_off_limits, parse

if TYPE_CHECKING:
    import aiohttp

SECONDS: Final = 5.0  # for all of it: name, connection, answer
MAX_BYTES: Final = jwks.MAX_BYTES

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class FetchError(Exception):
    """There are no keys there; the message is a clause that says why."""


class _Discovery(msgspec.Struct):
    """What OpenID Connect Discovery says of an issuer, as far as it is read."""

    issuer: str
    jwks_uri: str


class KeyFetcher:
    """Asks for keys. `allowed`: blocks of addresses that may be asked although they are private to somebody."""

    def __init__(
        self,
        allowed: Callable[[], Sequence[str]],
        *,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed = allowed
        self._resolve = resolve or _resolved
        self._tls = tls

    async def __call__(self, uri: str) -> str:
        """The key set, as `jwks.KeySet.text`. Raises `FetchError`."""
        try:
            async with asyncio.timeout(SECONDS):
                return await self._keys(uri)
        except TimeoutError as error:
            raise FetchError(f"there was no whole answer within {SECONDS:.0f} s") from error

    async def _keys(self, uri: str) -> str:
        if uri.endswith(DISCOVERY):
            uri = await self._discovered(uri)
        found = jwks.read(await self._body(uri)).published()
        if not found.keys:
            raise FetchError("the answer is no key set with a key that can be used")
        return found.text

    async def _discovered(self, uri: str) -> str:
        """Where an issuer says its keys are. It must say that it is this issuer (OpenID Connect Discovery, 4.3)."""
        try:
            found = msgspec.json.decode(await self._body(uri), type=_Discovery)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise FetchError("the answer does not say where the keys are") from error
        if found.issuer.removesuffix("/") != uri.removesuffix(DISCOVERY):
            raise FetchError("the answer is about another issuer")
        if uri.startswith("https:") and not found.jwks_uri.startswith("https:"):
            raise FetchError("the answer says that the keys are where anybody could forge them, without TLS")
        return found.jwks_uri

    async def _body(self, uri: str) -> bytes:
        import aiohttp  # noqa: PLC0415  a tenth of a second, for those who ask for keys

        try:
            location = parse(uri)
        except UnusableUriError as error:
            raise FetchError(str(error)) from error
        addresses = await self._addresses(location)
        connector = aiohttp.TCPConnector(resolver=_pinned(addresses), use_dns_cache=False, ssl=self._tls or True)
        try:
            async with aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                headers={"accept": "application/json", "accept-encoding": "identity"},
            ) as session:
                return await _answer(session, uri)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise FetchError(f"it cannot be asked ({type(error).__name__})") from error

    async def _addresses(self, location: KeyLocation) -> list[str]:
        try:
            found = list(dict.fromkeys(await self._resolve(location.host, location.port)))
        except (OSError, UnicodeError) as error:
            raise FetchError("its name cannot be resolved") from error
        allowed = [ip_network(block, strict=False) for block in self._allowed()]
        for text in found:
            if not may_be_asked(ip_address(text), allowed):
                raise FetchError("its address is not public; jwksAllowedNetworks may name it")
        if not found:
            raise FetchError("its name has no address")
        return found


def may_be_asked(address: Address, allowed: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Whether an address is everybody's, or one of the blocks that a setting names."""
    if any(address in block for block in allowed if block.version == address.version):
        return True
    return address.is_global and not is_off_limits(address)


async def _answer(session: "aiohttp.ClientSession", uri: str) -> bytes:
    async with session.get(uri, allow_redirects=False) as response:
        if response.status != 200:
            redirects = ", and redirects are not followed" if 300 <= response.status < 400 else ""
            raise FetchError(f"it answers {response.status}{redirects}")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise FetchError("its answer is compressed, which nobody asked for")
        found = bytearray()
        async for chunk in response.content.iter_any():
            found += chunk
            if len(found) > MAX_BYTES:
                raise FetchError(f"its answer has more than {MAX_BYTES} bytes")
        return bytes(found)


async def _resolved(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=SOCK_STREAM)
    return [str(address[0]).partition("%")[0] for *_, address in found]


def _pinned(addresses: Sequence[str]) -> Any:
    """A resolver that knows these addresses, whatever it is asked for."""
    from aiohttp.abc import AbstractResolver, ResolveResult  # noqa: PLC0415

    class Pinned(AbstractResolver):
        async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:  # noqa: ARG002
            return [
                ResolveResult(
                    hostname=host,
                    host=one,
                    port=port,
                    family=AF_INET6 if ":" in one else AF_INET,
                    proto=0,
                    flags=AI_NUMERICHOST,
                )
                for one in addresses
            ]

        async def close(self) -> None:
            """Holds nothing."""

    return Pinned()
