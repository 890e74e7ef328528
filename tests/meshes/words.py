"""The words meshes are made of. Few on purpose: names that collide all the time find more than a million that never do."""

from collections.abc import Mapping, Sequence
from random import Random  # noqa: TID251 — takes its seed as an argument
from typing import Any, TypeVar

Word = TypeVar("Word")
Json = dict[str, Any]

NAMESPACES = ("alpha", "beta", "gamma")
HOME = "alpha"  # where the callers of every mesh live
ROOT = "istio-system"
INGRESS = "istio-ingress"
SERVICES = ("reviews", "ratings", "details", "cart", "users", "orders", "mail", "db")
VERSIONS = ("v1", "v2", "v3")
TIERS = ("gold", "beta")
ENTRIES = (
    "api.example.com",
    "db.example.com",
    "*.wild.example.com",
    "cdn.example.org",
    "legacy.corp.internal",
    "ratings",
    "cart.alpha",
    "users.beta.svc",
)
PUBLIC = ("shop.example.com", "www.example.com", "*.example.com", "blog.example.net", "*")
LITERALS = ("routed.test", "api.routed.test", "*.routed.test")

PATHS = ("/", "/a", "/a/b", "/A", "/api", "/api/v1", "/api/v2/x", "/static/x.css", "/ratings/1")
PREFIXES = ("/", "/a", "/a/", "/A", "/api", "/api/", "/static/", "/rat", "")
PATH_REGEXES = ("/a.*", "/api/v[12](/.*)?", ".*", "/[a-z]+", "/static/.+\\.css", "(?i)/A(/B)?", "/ratings/\\d+")
HEADERS = ("x-user", "x-canary", "end-user", "cookie", "user-agent")
VALUES = ("jason", "1", "beta", "beta-2", "user=alice", "a")
VALUE_REGEXES = ("beta.*", "[0-9]+", "(.*;)?user=alice(;.*)?", "j.*n")
PARAMETERS = ("x", "debug")
METHODS = ("GET", "POST", "OPTIONS", "DELETE")
ORIGINS = ("http://good.test", "https://a.good.test")


def some(rng: Random, words: Sequence[Word], most: int, least: int = 1) -> list[Word]:
    """Between `least` and `most` different ones, in random order."""
    unique = list(dict.fromkeys(words))
    return rng.sample(unique, rng.randint(min(least, len(unique)), min(most, len(unique))))


def maybe(rng: Random, chance: float, **fields: Any) -> Json:
    """The fields, with this probability; none of them otherwise. `from_` stands for `from`."""
    return {name.rstrip("_"): value for name, value in fields.items()} if rng.random() < chance else {}


def one_of(rng: Random, choices: Mapping[Word, float]) -> Word:
    """One of the keys, by weight."""
    return rng.choices(list(choices), list(choices.values()))[0]
