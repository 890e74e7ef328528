"""The words configurations and calls are made of."""

from collections.abc import Sequence
from random import Random  # noqa: TID251 — takes its seed as an argument
from typing import Any, TypeVar

Word = TypeVar("Word")
Json = dict[str, Any]
TYPE = "type.googleapis.com/envoy."

AUTHORITIES = (
    *("a.test", "a.test", "b.a.test", "x.b.a.test", "v-a.test", "test", "c.test", "A.Test", "a.test.", "a"),
    *("a.test:8080", "b.a.test:443", "a.test:80", "[::1]", "[::1]:8080", "10.0.0.1", "10.0.0.1:80", "other"),
)
DOMAINS = (
    *("a.test", "b.a.test", "*.a.test", "*.test", "*-a.test", "*a.test", "a.*", "a.test.*", "b.*", "*", "*"),
    *("a.test:8080", "C.test", "[::1]", "[::1]:8080", "10.0.0.1", "10.0.0.1:80", "*:8080", "*.a.test:443", "a.te*"),
)
PATHS = (
    *("/", "/", "/a", "/a/", "/a/b", "/ab", "/A", "/A/b", "/a/b/c", "/v1/x", "/v2/x", "/b", "/b/a"),
    *("/a?x=1", "/a?x=1&y=2", "/a?x=2&x=1", "/a?x", "/a?x=", "/?x=abc&y", "/a/b?y=ABC", "/b?x=%61"),
    *("/a;p=1/b", "/a//b", "//a", "/a/../b", "/a/./b", "/a/..", "/../a", "/a/b/.", "/%61", "/a%2Fb", "/a%2fb?x=a%2Fb"),
    *("/a/%2e%2E/b", "/a\\b", "/a%5cb", "/a%20b", "/a%zz", "/~a", "/%7ea", "/a%00b", "/a#b", "/a|b", "/a:b@c"),
)
PREFIXES = ("/", "/a", "/a/", "/A", "/a/b", "/v", "/b", "/%61")
SEPARATED = ("/a", "/a/b", "/A", "/v1", "/b")
EXACT = ("/", "/a", "/A", "/a/b", "/ab", "/v1/x", "/b", "/a/")
PATH_REGEXES = ("/a.*", "/v[12]/x", ".*", "/(a|b)(/.*)?", "/a", "(?i)/A/B", "/[a-z]+")
VALUES = ("", "1", "7", "10", "-3", "0x10", "abc", "ABC", "ab", "abcabc", "a,b", "1.5", "99999999999999999999", "a")
REGEXES = ("a.*", "[0-9]+", "(a|b)c?", ".*", "\\d{2,}", "(?i)abc", "a,b")
HEADERS = ("x-a", "x-b", "X-C", "user-agent", "accept", "cookie", "content-type", "x-forwarded-proto")
PSEUDO = (":method", ":authority", ":path", ":scheme", "host")
METHODS = ("GET", "GET", "GET", "POST", "PUT", "OPTIONS", "HEAD", "FOO")
PARAMETERS = ("x", "y", "z")
SNIS = ("a.test", "b.a.test", "x.b.a.test", "c.test", "A.test", "other", "")
SERVER_NAMES = ("a.test", "b.a.test", "*.a.test", "*.test", "c.test", "*.b.a.test")
ALPNS = (("h2", "http/1.1"), ("http/1.1",), ("h2",), ("istio",), ("istio", "h2"), (), ("foo", "http/1.1"))
APPLICATION_PROTOCOLS = ("h2", "http/1.1", "http/1.0", "h2c", "istio")


def some(rng: Random, words: Sequence[Word], most: int) -> list[Word]:
    """Between one and `most` different words."""
    different = sorted(set(words), key=str)
    return rng.sample(different, rng.randint(1, min(most, len(different))))


def maybe(rng: Random, chance: float, **fields: Any) -> Json:
    """These fields, or none."""
    return fields if rng.random() < chance else {}
