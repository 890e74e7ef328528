"""One call as policies are asked about it: who calls, from where, to where, and what he wants."""

from collections.abc import Mapping

import msgspec

from controlplane.explain.call import Address
from controlplane.explain.headers import Headers, received
from controlplane.explain.paths import canonical, has_escaped_slash, merge_slashes, unescape_slashes
from controlplane.model.settings import PathNormalization

SPIFFE = "spiffe://"
_MERGES = (PathNormalization.MERGE_SLASHES, PathNormalization.DECODE_AND_MERGE_SLASHES)


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A request, as it is sent."""

    method: str = "GET"
    host: str = ""  # with the port, if the caller sends one
    path: str = "/"  # with query and fragment
    headers: tuple[tuple[str, str], ...] = ()
    http2: bool = False

    def named(self, normalization: PathNormalization) -> Headers:
        """Headers by lower-case name, each with its values; those of the request line too."""
        own = {":method": self.method, ":authority": self.host, "host": self.host}
        path = normal_path(self.path, normalization) or self.path
        return {**received(self.headers, http2=self.http2), ":path": (path,), **{k: (v,) for k, v in own.items()}}

    def plain_path(self, normalization: PathNormalization) -> str:
        """What rules about paths are compared with: without the query."""
        return (normal_path(self.path, normalization) or "").partition("?")[0]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A connection, with a request on it if it is one of HTTP."""

    names: tuple[str, ...] = ()  # in the caller's certificate: its URIs, else its DNS names, else its subject
    source: str = "127.0.0.1"  # whoever opened the connection
    remote: str = ""  # the client proxies in between told of; "" = the same
    destination: Address = Address("127.0.0.1", 80)
    server_name: str = ""  # SNI
    message: Message | None = None
    claims: Mapping[str, object] | None = None  # of a valid token
    metadata: Mapping[str, Mapping[str, object]] = {}  # what other filters noted

    @property
    def principals(self) -> tuple[str, ...]:
        """The caller's identities, without "spiffe://"."""
        return tuple(name.removeprefix(SPIFFE) for name in self.names if name.startswith(SPIFFE))

    @property
    def request_principal(self) -> str:
        """Issuer and subject of the token; "" where one of them is missing."""
        claims = self.claims or {}
        issuer, subject = claims.get("iss"), claims.get("sub")
        if not (isinstance(issuer, str) and issuer and isinstance(subject, str) and subject):
            return ""
        return f"{issuer}/{subject}"


def normal_path(path: str, normalization: PathNormalization) -> str | None:
    """The path with its query, as rules and the application get it; None for one that is refused before."""
    plain = path.partition("#")[0] or "/"
    if normalization is PathNormalization.DECODE_AND_MERGE_SLASHES and has_escaped_slash(plain):
        plain = unescape_slashes(plain)
    if normalization is PathNormalization.NONE:
        return plain
    found = canonical(plain)
    if found is None:
        return None
    return merge_slashes(found) if normalization in _MERGES else found
