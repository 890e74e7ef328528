"""Regular expressions of users: RE2 alone, bounded in length, in size and in what all of one object cost together."""

import ast
import asyncio
import json
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec import inspect

from controlplane.app.control import ControlPlane
from controlplane.model.decode import decode
from controlplane.model.kinds import KINDS, Kind
from controlplane.model.meta import ref_of
from controlplane.model.settings import Settings
from controlplane.model.validate import common
from controlplane.model.virtualservice import RegexRewrite
from controlplane.runtime.clock import SystemClock
from tests.threats.test_injection import all_places, document

ROOT: Final = Path(__file__).parents[2]
BUDGET: Final = 0.1  # seconds of CPU, for all expressions of one object
LAG: Final = 0.25  # seconds

# What ruins engines that go back, what is large once it is unrolled, and what is no expression at all.
CORPUS: Final = (
    "(a+)+$",
    "([a-zA-Z]+)*$",
    "(a|aa)+$",
    "(a|a?)+$",
    "(.*a){20}$",
    "(.*)*x",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "(a*)*(b*)*(c*)*(d*)*(e*)*(f*)*(g*)*$",
    "(x+x+)+y",
    r"^(\w+\s?)*$",
    r"(\pL{1000})",
    r"[\pL\pN\pP]{1000}",
    r"[^\pL]{1000}",
    r"(\PN*\pN){500}",
    "(a{1000})" * 100,
    "(.{1000})" * 100,
    "(a?){1000}" * 80,
    "(|){1000}" * 100,
    "(?i)" + r"(\pL{900})" * 90,
    "((a{100}){100}){100}",
    "(" * 500 + "a" + ")" * 500,
    "(" * 1024,
    "[" * 1024,
    "a" * 1024,
    "a" * 1025,
    "a" * 1_000_000,
    "|" * 1024,
    "a{0,1000}" * 113,
    "\\" * 1023,
    "(?<=a)b",
    r"(a)\1",
    "(?R)",
    "\0" * 100,
    "\ud800",
    "\U0010ffff{1000}",
    "",
)


def is_regex(described: Any, name: str) -> bool:
    return name == "regex" or (described.cls is RegexRewrite and name == "match")


def places(described: Any) -> Iterator[tuple[Any, ...]]:
    """Steps to each regular expression in a type, as `test_injection.places` has them."""
    if isinstance(described, inspect.UnionType):
        for one in described.types:
            yield from places(one)
    elif isinstance(described, inspect.VarTupleType):
        yield from (("[]", *rest) for rest in places(described.item_type))
    elif isinstance(described, inspect.DictType):
        yield from (("{}", *rest) for rest in places(described.value_type))
    elif isinstance(described, inspect.StructType):
        for field in described.fields:
            if is_regex(described, field.encode_name):
                yield (field.encode_name, inspect.StrType())
            else:
                yield from ((field.encode_name, *rest) for rest in places(field.type))


@cache
def regex_fields() -> tuple[tuple[Kind, tuple[Any, ...]], ...]:
    return tuple((kind, steps) for kind in KINDS for steps in places(inspect.type_info(kind.type)))


def test_the_fields_are_known():
    """By name; a field of another name that holds one would be found among those that say `regex` in their problems."""
    assert len(regex_fields()) >= 9
    asked = {(kind.kind, *map(str, steps[:-1])) for kind, steps in regex_fields()}
    for kind in KINDS:
        for steps in all_places(kind):
            problems = decode(document(kind, steps, "(")).problems
            says_so = any(one.code == "InvalidRegex" for one in problems)
            assert says_so == ((kind.kind, *map(str, steps[:-1])) in asked), (kind.kind, steps)


@pytest.mark.point
def test_no_expression_costs_more_than_its_object_may(proved):
    worst, count = 0.0, 0
    for kind, steps in regex_fields():
        for pattern in CORPUS:
            common._compiled.cache_clear()
            one = document(kind, steps, pattern)
            begun = time.thread_time()
            decode(one)
            worst = max(worst, time.thread_time() - begun)
            count += 1
    proved(
        "identity 7.3", "expressions made to be slow, in every field that holds one: CPU of decoding the object",
        bound=f"< {BUDGET * 1000:.0f} ms", figure=f"{worst * 1000:.0f} ms", holds=worst < BUDGET, cases=count,
        asked=len(CORPUS) * 9,
    )  # fmt: skip


def crowded(pattern: str, many: int) -> bytes:
    """A VirtualService with that many expressions, all different."""
    matches = [{"headers": {"x": {"regex": f"{pattern}{number}"}}} for number in range(many)]
    spec = {"hosts": ["a.b"], "http": [{"match": matches, "directResponse": {"status": 204}}]}
    meta = {"name": "crowd", "namespace": "default"}
    head = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": meta}
    return json.dumps({**head, "spec": spec}).encode()


@pytest.mark.point
@pytest.mark.parametrize("pattern", [one for one in CORPUS if 0 < len(one) < 1000 and "\ud800" not in one])
def test_a_thousand_expressions_are_no_worse_than_a_few(pattern, proved):
    common._compiled.cache_clear()
    many = min(1_000, 256 * 1024 // len(pattern))
    raw = crowded(pattern, many)
    begun = time.thread_time()
    found = decode(raw)
    spent = time.thread_time() - begun
    assert found.value is not None
    proved(
        "identity 7.3", "a thousand expressions made to be slow, in one object: CPU of decoding it",
        bound=f"< {BUDGET * 1000:.0f} ms", figure="below", holds=spent < BUDGET, cases=many, asked=100,
    )  # fmt: skip


def test_what_is_not_looked_at_never_matches():
    """Fails closed: the match is taken out, and the object says so."""
    found = decode(crowded("(a{999})" * 30, 10))
    value: Any = found.value
    (route,) = value.spec.http
    assert [match.invalid for match in route.match] == [False] * 3 + [True] * 7
    assert [problem.code for problem in found.problems] == ["InvalidRegex"] * 7
    assert all("not looked at" in problem.message for problem in found.problems)


@pytest.mark.point
async def test_nobody_waits_for_an_expression(proved):
    """While such objects come in one after the other, the event loop of the control plane has its turns."""
    control = ControlPlane(Settings(), SystemClock(), lambda: 0.5)
    control.start_serving()
    longest, count = 0.0, 0
    for pattern in CORPUS:
        if len(pattern) < 2_000 and "\ud800" not in pattern:
            common._compiled.cache_clear()
            begun = time.thread_time()
            value: Any = decode(crowded(pattern, 100)).value
            control.apply({ref_of(value): value})
            longest = max(longest, time.thread_time() - begun)
            count += 1
            await asyncio.sleep(0)
    proved(
        "identity 7.3", "objects full of such expressions, decoded and compiled: CPU between two turns of the loop",
        bound=f"< {LAG * 1000:.0f} ms", figure=f"{longest * 1000:.0f} ms", holds=longest < LAG, cases=count, asked=30,
    )  # fmt: skip


def test_python_s_own_engine_sees_nothing_of_users():
    """Where it is imported at all, its patterns are literals of ours."""
    allowed = ["controlplane/agent/exposition.py", "controlplane/sources/files/reading.py"]
    users = []
    for path in (ROOT / "controlplane").rglob("*.py"):
        tree = ast.parse(path.read_text())
        imports = [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
        froms = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert "re" not in froms
        assert "fnmatch" not in {*imports, *froms}
        if "re" in imports:
            users.append(str(path.relative_to(ROOT)))
    assert sorted(users) == allowed
    for file in allowed:
        tree = ast.parse((ROOT / file).read_text())
        inside = [
            node for function in ast.walk(tree) if isinstance(function, _FUNCTIONS) for node in ast.walk(function)
        ]
        assert not any(_is_made(node) for node in inside), file  # what is made when a module is loaded is ours
        assert any(map(_is_made, ast.walk(tree)))


_FUNCTIONS: Final = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def _is_made(node: ast.AST) -> bool:
    """Anything of `re` that takes a pattern."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "re"
    )
