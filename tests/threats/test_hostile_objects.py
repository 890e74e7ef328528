"""Objects meant to keep the control plane busy: expressions that take an engine ages, in whatever field, and sheer size.

Reading one object stays quick, what is too much fails closed, and nothing that a user wrote in a policy is ever a part
of a regular expression without being quoted.
"""

import re  # noqa: TID251  who compiles patterns is watched
import time
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import msgspec
import pytest
import re2
from envoy.config.rbac.v3 import rbac_pb2

from controlplane.envoy.filters import rbac
from controlplane.ir.authorization import ALWAYS
from controlplane.mesh import authorization
from controlplane.model.settings import Settings
from tests.conftest import Proved
from tests.model.documents import decode, documents, named

BUDGET = 0.1  # seconds of CPU for one object
LONGEST = 1024  # characters of a regular expression
CORPUS = (
    "(a+)+$",
    "(a|aa)+$",
    "(.*a){25}$",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "(?=a)" * 100,
    "(" * LONGEST,
    "(a?){512}" + "a{500}",
    "((a{100}){100}){100}",
    "(a+)+" + "a" * (LONGEST - 5),
    "a" * 100_000 + "!",
    "(a*)*" * 20_000,
    "[" + "\\u0430-\\U0010ffff" * 50 + "]",
)
Path = tuple[Any, ...]


def strings(value: Any, path: Path = ()) -> Iterator[Path]:
    """Where a document holds texts."""
    if isinstance(value, str):
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from strings(item, (*path, key))


def replaced(document: Any, path: Path, text: str) -> Any:
    found = parent = deepcopy(document)
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = text
    return found


def cost(document: Any) -> float:
    """Seconds of CPU to read an object; the better of two, since others run in this process too."""
    found = []
    for _ in range(2):
        begin = time.process_time()
        decode(document)
        found.append(time.process_time() - begin)
        if found[-1] < BUDGET / 2:
            break
    return min(found)


@pytest.mark.point
def test_no_text_in_any_field_makes_reading_slow(proved: Proved) -> None:
    """Threat row 3."""
    worst, cases = (0.0, ""), 0
    for document in documents():
        for path in strings(document["spec"], ("spec",)):
            for text in CORPUS:
                worst = max(worst, (cost(replaced(document, path, text)), f"{document['kind']} {path} {text[:20]}"))
                cases += 1
    proved(
        "identity 7.3", "expressions that take ages, in every text of every kind: longest read of an object, seconds",
        bound=f"{BUDGET:g}", figure=f"{worst[0]:.3f}", holds=worst[0] <= BUDGET, cases=cases, asked=4_000,
    )  # fmt: skip


def asking(name: str) -> Any:
    document = named(name)
    document["spec"]["action"] = "DENY"
    document["spec"].pop("provider", None)
    return document


N = 100_000
SHAPES: dict[str, Any] = {
    "rules": [{}] * N,
    "sources": [{"from": [{"source": {}}] * (N * 4 // 5)}],
    "values": [{"from": [{"source": {"principals": ["a"] * 3 * N}}]}],
    "accounts": [{"from": [{"source": {"serviceAccounts": ["a/b"] * 2 * N}}]}],
    "bad ports": [{"to": [{"operation": {"ports": ["x"] * 3 * N}}]}],
    "bad blocks": [{"from": [{"source": {"ipBlocks": ["x"] * 3 * N}}]}],
    "some bad blocks": [{"from": [{"source": {"ipBlocks": ["x"] * 8000}}]}],
    "conditions": [{"when": [{"key": "x", "values": ["a"]}] * (N // 3)}],
    "a long key": [{"when": [{"key": "request.auth.claims" + "[a]" * 4 * N, "values": ["a"]}]}],
    "a long template": [{"to": [{"operation": {"paths": ["/{*}" * 3 * N]}}]}],
    "slashes": [{"from": [{"source": {"requestPrincipals": ["/" * 10 * N]}}]}],
    "numbers for texts": [{"from": [{"source": {"principals": [5] * 4 * N}}]}],
    "fields nobody knows": [{f"field{i}": 1 for i in range(N)}],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_policy_of_any_shape_is_read_quickly_and_fails_closed(shape: str) -> None:
    document = asking("every-rule-field")
    document["spec"]["rules"] = SHAPES[shape]
    raw = msgspec.json.encode(document)
    assert cost(raw) < BUDGET
    refusing = authorization.read(decode(raw).value, Settings()).of_requests
    assert any(rule.who == ALWAYS and rule.what == ALWAYS for rule in refusing)


def test_no_text_of_an_object_is_a_pattern_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler: Any = re._compiler  # type: ignore[attr-defined]
    compiled, real = [], compiler.compile

    def watched(pattern: Any, flags: int = 0) -> Any:
        compiled.append(pattern)
        return real(pattern, flags)

    monkeypatch.setattr(compiler, "compile", watched)
    re.purge()
    re.compile("watched")
    for document in documents():
        for path in strings(document["spec"], ("spec",)):
            decode(replaced(document, path, "zq+(a+)+$"))
    assert "watched" in compiled
    assert not [pattern for pattern in compiled if "zq" in str(pattern)]


# What proxies are given of a policy.

MARK = "zqzq"
HOSTILE = (
    "(a+)+$", ".*?", "a|b", "^a", "a$", "[a-z]", "\\C+", "\\Q(a+)+\\E", "(?i)a", "x{1000}", "a.b", "a\\", "é(a+)+", "(?P<a>b)",
)  # fmt: skip


def regexes(message: Any) -> list[str]:
    """All regular expressions anywhere in a message."""
    found: list[str] = []
    for field, value in message.ListFields():
        many = value.values() if hasattr(value, "values") else value if field.is_repeated else (value,)
        for one in many:
            if hasattr(one, "ListFields"):
                found += [one.regex] if one.DESCRIPTOR.name == "RegexMatcher" else regexes(one)
    return found


def rules_of(document: Any) -> Any:
    """What Envoy is asked to hold calls against; None where the policy has a fault, so that no text of it is used."""
    read = decode(document)
    if any(problem.level == "error" for problem in read.problems):
        return None
    policy = authorization.read(read.value, Settings())
    return rbac._rules(policy.of_requests, rbac_pb2.RBAC.DENY)


POLICIES = [
    one["metadata"]["name"] for one in documents() if one["kind"] == "AuthorizationPolicy" and "rules" in one["spec"]
]
STYLES = ("{}", "{}*", "*{}", "/{{*}}/{}")


def test_what_a_user_writes_in_a_policy_is_quoted_in_every_expression() -> None:
    """The expressions are ours: with another text in any field they are the same but for that text, quoted."""
    part_of_one = set()
    for document in map(asking, POLICIES):
        for path in strings(document["spec"]["rules"], ("spec", "rules")):
            for style in STYLES:
                ours = rules_of(replaced(document, path, style.format(MARK)))
                for text in HOSTILE:
                    theirs = rules_of(replaced(document, path, style.format(text)))
                    if ours is None or theirs is None:
                        continue
                    quoted = [one.replace(MARK, re2.escape(text)) for one in regexes(ours)]
                    assert sorted(quoted) == sorted(regexes(theirs)), (path, text)
                    part_of_one |= {path[-2] for one in regexes(ours) if MARK in one}
    assert part_of_one >= {"principals", "notPrincipals", "namespaces", "trustDomains", "paths"}
