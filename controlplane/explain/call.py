"""One call as its caller makes it: where it goes, and what its first bytes are."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

_METHODS: Final = frozenset(
    "ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MOVE"  # noqa: SIM905 — one text
    " MSEARCH NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT REBIND REPORT SEARCH SOURCE"
    " SUBSCRIBE TRACE UNBIND UNLINK UNLOCK UNSUBSCRIBE".split()
)


class Address(NamedTuple):
    """An IP address as text, without brackets, and a port."""

    ip: str
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


class Speaks(StrEnum):
    """What the client sends first (inside TLS, where there is TLS)."""

    HTTP10 = "http/1.0"
    HTTP11 = "http/1.1"
    HTTP2 = "h2"  # over TLS chosen by ALPN, over cleartext with the connection preface ("prior knowledge")
    BYTES = "bytes"  # something that is not HTTP, at least 16 bytes with a line feed: http_inspector waits for one
    NOTHING = "nothing"  # the client waits for the server to speak, as with MySQL or SMTP


class Tls(msgspec.Struct, frozen=True):
    """The ClientHello, and who the client shows to be. Who signed its certificate is not judged: it is a good one."""

    sni: str = ""
    alpn: tuple[str, ...] = ()
    client_certificate: bool = False
    names: tuple[str, ...] = ()  # in the client's certificate: its URIs, else its DNS names, else its subject

    @property
    def shows_certificate(self) -> bool:
        return self.client_certificate or bool(self.names)


class ProxyHeader(NamedTuple):
    """A PROXY protocol header before everything else: who the previous proxy says is talking to whom."""

    source: Address
    destination: Address


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A connection with one request on it.

    `address` is where the caller meant to go. With traffic capture the connection ends up elsewhere, at
    `captured_at` (0.0.0.0:15001 outbound, 0.0.0.0:15006 inbound), and only the kernel remembers `address`.
    """

    address: Address
    captured_at: Address | None = None
    source: Address = Address("127.0.0.1", 40000)
    proxy_header: ProxyHeader | None = None
    tls: Tls | None = None
    speaks: Speaks = Speaks.HTTP11

    authority: str = ""  # Host or :authority, with the port if the client sends one; "" = none sent
    path: str = "/"  # with the query string
    method: str = "GET"
    scheme: str = ""  # of an absolute-form request (HTTP/1) or :scheme (HTTP/2); "" = what fits `tls`
    headers: tuple[tuple[str, str], ...] = ()  # in order, repeated names allowed; without pseudo-headers
    claims: Mapping[str, Any] | None = None  # of a valid token the caller shows; real tokens are in `headers`, `path`
    at: float | None = None  # when the call is made, in Unix seconds; None: tokens are not too old

    @property
    def has_known_method(self) -> bool:
        """HTTP/1 parsers know a list of methods; HTTP/2 takes any."""
        return self.speaks is Speaks.HTTP2 or self.method in _METHODS

    @property
    def speaks_http(self) -> bool:
        return self.speaks in {Speaks.HTTP10, Speaks.HTTP11, Speaks.HTTP2}


def http(url: str, *, headers: Iterable[tuple[str, str]] = (), **fields: object) -> Call:
    """A call as a person writes it: `http("http://reviews:9080/ratings?x=1", address=Address("10.0.0.5", 9080))`.

    The scheme decides about TLS with the host as SNI. The port stays in the authority as `curl` sends it: if it is
    written and not the scheme's own.
    """
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    host, port = split_port(authority)
    own = "443" if scheme == "https" else "80"
    made = {
        "authority": host if port == own else authority,
        "path": slash + path or "/",
        "headers": tuple(headers),
        "tls": Tls(sni=host) if scheme == "https" else None,
    }
    return msgspec.convert({**made, **fields}, Call)


def split_port(authority: str) -> tuple[str, str]:
    """Host and port as Envoy cuts them: `a:80` -> (`a`, `80`), `[::1]:80` -> (`[::1]`, `80`), `a` -> (`a`, "")."""
    colon = authority.rfind(":")
    inside_brackets = colon < authority.rfind("]")
    port = authority[colon + 1 :]
    if colon < 0 or inside_brackets or not (port.isascii() and port.isdigit()):
        return authority, ""
    return authority[:colon], port
