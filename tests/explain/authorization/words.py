"""The words that random policies and random calls have in common, so that they meet; and words meant to do harm."""

from functools import cache
from typing import Any, Final

from tests.tokens import jwks, key, token

DOMAINS: Final = ("mesh.example", "old.example", "elsewhere.example", "cluster.local", "xmesh.example", "meshxexample")
NAMESPACES: Final = ("a", "ab", "b", "a-b", "shop", "istio-system")
ACCOUNTS: Final = ("x", "xy", "x.y", "xzy", "default")
SEGMENTS: Final = ("a", "b", "admin", "ad", "x.php", "A", "%61", "1", "a-b", "a.b")
METHODS: Final = ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
HOSTS: Final = ("a.example", "b.a.example", "a.example:80", "A.example", "ab.example", "shop", "[::1]", "aXexample")
HEADERS: Final = ("x-team", "x-env", "X-Mixed-Case", "accept", "user-agent", "authorization-info")
VALUES: Final = ("a", "ab", "b", "A", "a.b", "axb", "a,b", "é", "a b", "(a+)+$", ".*", "a\\b", "", "*")
SNIS: Final = ("a.example", "b.a.example", "ab.example", "A.Example", "")
ISSUERS: Final = ("https://id.example", "https://id.example/team", "a", "a/b", "axb")
SUBJECTS: Final = ("alice", "team/alice", "b/c", "c", "al.ce", "bob")
AUDIENCES: Final = ("shop", "shops", "other")
ADDRESSES: Final = ("127.0.0.1", "127.1.2.3", "127.1.2.4", "127.9.0.1")  # callers
FORWARDED: Final = ("192.0.2.7", "198.51.100.9", "2001:db8::7")
BLOCKS: Final = (
    "127.0.0.0/8", "127.1.2.0/30", "127.1.2.3", "127.0.0.1", "10.0.0.0/8", "192.0.2.0/24", "198.51.100.9", "::1",
    "2001:db8::/32", "0.0.0.0/0", "::/0", "127.1.2.3/16",
)  # fmt: skip
HOSTILE: Final = (
    "(a+)+$", ".*", "[", "\\", "a|b", "x{1000}", "^", "$", "(?i)a", "\\C*", "a\x7f", "é", "\uff41", "\U0001d4b3", "\u212a", "%2f", "**",
    "*.*", "{**", "null", "'", '"', "ns/a", "/ns/a/sa/x", "spiffe://mesh.example/ns/a/sa/x", "a" * 300,
)  # fmt: skip


def identities() -> tuple[str, ...]:
    """Names of callers: of the mesh, almost of the mesh, and of nobody we know."""
    own = [
        f"{domain}/ns/{namespace}/sa/{account}"
        for domain in DOMAINS
        for namespace in NAMESPACES
        for account in ACCOUNTS
    ]
    odd = [
        "mesh.example/ns/a/sa/x/more",
        "mesh.example/ns/a",
        "mesh.example/x/y/ns/a/sa/x",
        "mesh.example/sa/x/ns/a",
        "mesh.example",
        "ns/a/sa/x",
    ]
    return (*own[::7], "mesh.example/ns/a/sa/x", "old.example/ns/a/sa/x", "mesh.example/ns/ab/sa/x.y", *odd)


IDENTITIES: Final = identities()
CERTIFICATES: Final[tuple[tuple[str, ...], ...]] = (
    *((f"spiffe://{name}",) for name in IDENTITIES),
    ("client.example",),  # a DNS name alone
    ("spiffe://mesh.example/ns/a/sa/x", "spiffe://elsewhere.example/ns/b/sa/xy"),  # two names
    ("https://mesh.example/ns/a/sa/x",),  # a URI that is no SPIFFE ID
)

# Claims of tokens: all that policies may ask for, in the shapes issuers write it.
CLAIMS: Final[tuple[dict[str, Any], ...]] = tuple(
    {
        "iss": issuer,
        "sub": subject,
        "aud": [AUDIENCES[i % 3], "all"] if i % 2 else AUDIENCES[i % 3],
        **({"azp": AUDIENCES[i % 3]} if i % 3 else {}),
        "groups": [VALUES[i % len(VALUES)], "staff"] if i % 4 else VALUES[i % len(VALUES)],
        "realm": {"roles": ["a", VALUES[(i + 1) % len(VALUES)]], "admin": i % 2 == 0, "level": i},
        **({"scope": "read write"} if i % 5 == 0 else {}),
    }
    for i, (issuer, subject) in enumerate((issuer, subject) for issuer in ISSUERS for subject in SUBJECTS)
)


@cache
def signed() -> tuple[str, ...]:
    """A token for each of `CLAIMS`."""
    return tuple(token(key("HS256"), claims) for claims in CLAIMS)


def request_authentication() -> dict[str, Any]:
    """Believes all of these tokens."""
    keys = jwks(key("HS256"))
    rules = [{"issuer": issuer, "jwks": keys, "forwardOriginalToken": True} for issuer in ISSUERS]
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": "all", "namespace": "shop"},
        "spec": {"jwtRules": rules},
    }
