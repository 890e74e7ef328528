"""Random Ingresses that get in one another's way: few hosts, few paths, a few namespaces."""

from collections.abc import Iterator
from random import Random  # noqa: TID251 — takes its seed as an argument
from typing import Any

from tests.gatewayapi.ingresses import Path, backend, ingress, rule

Json = dict[str, Any]
NAMESPACES = ("default", "shop")
SERVICES = tuple(f"s{number}" for number in range(6))
HOSTS = (None, "a.com", "*.a.com", "b.a.com", "*.b.a.com", "*.com", "d.com")
ASKED = ("a.com", "b.a.com", "c.a.com", "x.b.a.com", "y.x.b.a.com", "d.com", "e.org", "A.com", "x.y.d.com")
PATHS = ("/", "/a", "/a/", "/a/b", "/a/b/", "/ab", "/a/b/c")
ASKED_PATHS = ("/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/a/bc", "/ab", "/ab/c", "/abc", "/A", "/a?b=/a/b")
TYPES = ("Exact", "Prefix", "ImplementationSpecific")


def ingresses(rng: Random, most: int = 6) -> list[Json]:
    ages = rng.sample(range(100), most)
    return [one(rng, f"i{number}", ages[number]) for number in range(rng.randint(1, most))]


def one(rng: Random, name: str, age: int) -> Json:
    spec: Json = {"rules": [_rule(rng) for _ in range(rng.randint(0, 3))]}
    if rng.random() < 0.3:
        spec["defaultBackend"] = backend(rng.choice(SERVICES))
    if rng.random() < 0.6:
        spec["tls"] = [_tls(rng, f"cert{number}") for number in range(rng.randint(1, 2))]
    return ingress(name, rng.choice((*NAMESPACES, NAMESPACES[0])), age=age, **spec)


def _rule(rng: Random) -> Json:
    paths = [Path(rng.choice(PATHS), rng.choice(SERVICES), rng.choice(TYPES)) for _ in range(rng.randint(1, 4))]
    return rule(rng.choice(HOSTS), *paths)


def _tls(rng: Random, secret: str) -> Json:
    hosts = [host for host in HOSTS if host is not None and rng.random() < 0.3]
    return {"secretName": rng.choice(("cert", secret)), **({"hosts": hosts} if hosts else {})}


# What nobody should write

_WILD = ("", "/", "//", "*", "*.", "*.*", ".", "..", "%", "%2f", "\x00", "\n", "\u00e4", "\u212a", "[::1]", "127.0.0.1",
         "a" * 300, "a.com:80", "A.COM", "(a|b)", ".*", "/*", "?", "#", "${x}", "%REQ(x)%", " ", "\\", "{", "/a/../b")  # fmt: skip


def wild(rng: Random) -> Iterator[Json]:
    """Documents of the right shape with anything in them, and some of the wrong shape."""
    for number in range(8):
        written = one(rng, f"w{number}", number)
        for _ in range(rng.randint(1, 4)):
            _spoil(rng, written["spec"])
        yield written


def _spoil(rng: Random, within: Any) -> None:
    keys = list(within) if isinstance(within, dict) else list(range(len(within)))
    if not keys:
        return
    key = rng.choice(keys)
    if isinstance(within[key], dict | list) and within[key] and rng.random() < 0.85:
        _spoil(rng, within[key])
    elif key != "ingressClassName":
        text = rng.choice(_WILD)
        within[key] = rng.choice((text, f"/{text}", f"a{text}.com", f"/a/{text}b", 0, -1, 70_000, None, [], {}, [text]))
