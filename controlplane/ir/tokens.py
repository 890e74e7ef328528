"""Which tokens are believed, and what becomes of their claims.

A *place* is a part of a request where tokens may be, and all who read it. Every token in a place must be valid for one
of its readers: a token nobody vouches for never reaches the application, whatever else the request carries.
"""

from datetime import timedelta

import msgspec

from controlplane.model.problem import Origin


class IssuerKeys(msgspec.Struct, frozen=True, tag="here"):
    """Public keys, in place."""

    jwks: str


class RemoteKeys(msgspec.Struct, frozen=True, tag="remote"):
    """Public keys that the proxy asks for."""

    uri: str
    cluster: str
    timeout: timedelta = timedelta(seconds=5)


class TokenHeader(msgspec.Struct, frozen=True):
    """A header with a token in it."""

    name: str  # lower case
    prefix: str = ""  # what stands before the token


class Locations(msgspec.Struct, frozen=True):
    """Where tokens are looked for; never nowhere."""

    headers: tuple[TokenHeader, ...] = ()
    params: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()


class Reader(msgspec.Struct, frozen=True):
    """Believes the tokens of one issuer that it finds in its locations."""

    name: str  # stable, and unique among all of a workload
    issuer: str  # "" = any
    locations: Locations
    keys: IssuerKeys | RemoteKeys | None  # None: keys that cannot be had, so no token is valid
    audiences: tuple[str, ...] = ()  # one of them must be the token's; () = any
    forward: bool = False  # the application gets the token
    payload_header: str = ""
    claim_headers: tuple[tuple[str, str], ...] = ()  # (header, claim; "." leads into nested ones)
    word_lists: tuple[str, ...] = ()  # claims that are words with spaces between


class Place(msgspec.Struct, frozen=True):
    """All who read one part of a request."""

    readers: tuple[Reader, ...]
    required: bool = False  # a request without a token is refused

    @property
    def locations(self) -> Locations:
        """The part they read."""
        every = [reader.locations for reader in self.readers]
        return Locations(
            tuple(dict.fromkeys(header for one in every for header in one.headers)),
            tuple(dict.fromkeys(param for one in every for param in one.params)),
            tuple(dict.fromkeys(cookie for one in every for cookie in one.cookies)),
        )


class Tokens(msgspec.Struct, frozen=True, cache_hash=True):
    """All tokens that one workload believes. Of several that are valid the last place's says who calls."""

    places: tuple[Place, ...]
    origins: tuple[Origin, ...] = ()

    @property
    def readers(self) -> tuple[Reader, ...]:
        return tuple(reader for place in self.places for reader in place.readers)

    @property
    def written_headers(self) -> tuple[str, ...]:
        """Those that only claims may be in: what callers put there is no claim of theirs. Lower case, sorted."""
        payloads = (reader.payload_header for reader in self.readers if reader.payload_header)
        claims = (header for reader in self.readers for header, _ in reader.claim_headers)
        return tuple(sorted({name.lower() for name in (*payloads, *claims)}))

    @property
    def clusters(self) -> tuple[str, ...]:
        """Where keys are asked for."""
        return tuple(dict.fromkeys(one.keys.cluster for one in self.readers if isinstance(one.keys, RemoteKeys)))
