"""Random calls, half of them aimed at some rule of the policies they meet; and every trick with paths, hosts, headers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random  # noqa: TID251  seeded by the test
from typing import Any

import msgspec

from controlplane.explain.authorization import Message
from tests.explain.authorization import words
from tests.explain.authorization.policies import any_path

Json = Mapping[str, Any]
_LONGEST = 60  # characters


class Caller(msgspec.Struct, frozen=True):
    """One connection: who opens it, from where, to where."""

    source: str = "127.0.0.1"
    tls: bool = False
    certificate: tuple[str, ...] = ()  # names in it; () with TLS = none is shown
    server_name: str = ""
    second_address: bool = False  # the other of the listener's two addresses
    http2: bool = False


class Sent(msgspec.Struct, frozen=True):
    """One request on a connection."""

    message: Message
    token: int = -1  # of `words.CLAIMS`; -1 = none
    absolute: bool = False  # "GET http://host/path", with another Host beside
    forwarded: str = ""  # X-Forwarded-For


def any_caller(random: Random) -> Caller:
    """A connection, plain or over TLS, with or without a certificate."""
    tls = random.random() < 0.75
    return Caller(
        source=random.choice(words.ADDRESSES),
        tls=tls,
        certificate=random.choice(words.CERTIFICATES) if tls and random.random() < 0.85 else (),
        server_name=random.choice(words.SNIS) if tls else "",
        second_address=random.random() < 0.3,
        http2=random.random() < 0.25,
    )


def any_sent(random: Random, policies: Sequence[Json], *, http2: bool) -> Sent:
    """A request, as one of these policies might mean it."""
    wanted = _aim(random, policies) if random.random() < 0.75 else {}
    path = wanted.get("paths") or any_path(random)
    host = wanted.get("hosts") or random.choice(words.HOSTS)
    headers = tuple(_headers(random, wanted))
    if random.random() < 0.4:
        path = _twisted_path(random, path)
    if random.random() < 0.25:
        host = _twisted_host(random, host)
    method = wanted.get("methods") or random.choice(words.METHODS)
    message = Message(
        method=_sane(method, "GET", str.isalpha),
        host=_sane(host, "a", _in_host),
        path=_slash(path),
        headers=headers,
        http2=http2,
    )
    forwarded = random.choice(words.FORWARDED) if random.random() < 0.3 else ""
    if forwarded and random.random() < 0.3:
        forwarded = f"{random.choice(words.FORWARDED)}, {forwarded}"
    return Sent(
        message,
        token=random.randrange(len(words.CLAIMS)) if random.random() < 0.5 else -1,
        absolute=not http2 and random.random() < 0.05,
        forwarded=forwarded,
    )


def _aim(random: Random, policies: Sequence[Json]) -> dict[str, str]:
    """Values that some rule asks for, by field."""
    rules = [rule for policy in policies for rule in _list(policy["spec"].get("rules")) if isinstance(rule, dict)]
    if not rules:
        return {}
    rule = random.choice(rules)
    found: dict[str, str] = {}
    entries = [entry for entry in _list(rule.get("to")) if isinstance(entry.get("operation"), dict)]
    if entries:
        for name, values in random.choice(entries)["operation"].items():
            if values:
                found[_plain(name)] = _meant(random, random.choice(values))
    for condition in _list(rule.get("when")):
        values = condition.get("values") or condition.get("notValues")
        if values:
            found[condition["key"]] = _meant(random, random.choice(values))
    return found


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _plain(name: str) -> str:
    """notPaths -> paths."""
    return name[3].lower() + name[4:] if name.startswith("not") else name


def _meant(random: Random, value: str) -> str:
    """Something that a value of a policy is meant to fit."""
    value = value.replace("{**}", random.choice(("", "x", "x/y", "a[b"))).replace("{*}", random.choice(("x", "a", "[")))
    if value == "*":
        return random.choice(("a", "/a", "GET"))
    if value.startswith("*"):
        return random.choice(("", "/x", "a")) + value[1:]
    return value[:-1] + random.choice(("", "x", "/y")) if value.endswith("*") else value


def _slash(path: str) -> str:
    return _sane(path if path.startswith("/") else f"/{path}", "/")


def _sane(text: str, instead: str, fits: Callable[[str], bool] = str.isprintable) -> str:
    """What an HTTP parser takes: the rest is refused long before rules are asked."""
    found = "".join(letter for letter in text if letter.isascii() and fits(letter) and letter != " ")
    return found[:_LONGEST] or instead


def _in_host(letter: str) -> bool:
    return letter.isalnum() or letter in "-.:[]_"


def _twisted_path(random: Random, path: str) -> str:
    tricks: tuple[Callable[[str], str], ...] = (
        lambda p: p.swapcase(),
        lambda p: p + "/",
        lambda p: p.rstrip("/"),
        lambda p: p.replace("/", "//", 1),
        lambda p: "/." + p,
        lambda p: "/x/.." + p,
        lambda p: "/x/%2e%2E" + p,
        lambda p: p.replace("a", "%61"),
        lambda p: p[:1] + p[1:].replace("/", "%2F"),
        lambda p: p[:1] + p[1:].replace("/", "%5c"),
        lambda p: p[:1] + p[1:].replace("/", "\\"),
        lambda p: p + "?q=/admin",
        lambda p: p + "?",
        lambda p: p + "#/admin",
        lambda p: p + ";v=1",
        lambda p: p + "[",
        lambda p: p + "%00",
        lambda p: p + "%",
        lambda p: p + "/..",
        lambda p: p + "/.",
        lambda p: p + "%20x",
        lambda p: p + '|{}^`"<>',
        lambda p: "/a" + p,
        lambda p: p[:-1],
    )
    return random.choice(tricks)(path)


def _twisted_host(random: Random, host: str) -> str:
    tricks: tuple[Callable[[str], str], ...] = (
        lambda h: h.swapcase(),
        lambda h: h + ":80",
        lambda h: h + ":8080",
        lambda h: h + ".",
        lambda h: "x" + h,
        lambda h: h.partition(":")[0],
        lambda h: h.replace(".", "x"),
    )
    return random.choice(tricks)(host)


def _headers(random: Random, wanted: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for key, value in wanted.items():
        name = key.removeprefix("request.headers[").rstrip("]")
        if name != key and not name.startswith(":") and name.lower() != "host":
            yield name, _line(value)
            if random.random() < 0.3:  # the same header again, with something else
                yield name.swapcase(), _line(random.choice(words.VALUES))
    for _ in range(random.choice((0, 0, 1, 2))):
        name = random.choice(words.HEADERS)
        yield random.choice((name, name.upper())), _line(random.choice(words.VALUES))


def _line(value: str) -> str:
    """As bytes of a header: UTF-8, without what ends a line."""
    return "".join(letter for letter in value if letter.isprintable()).strip()
