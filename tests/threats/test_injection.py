"""Text that would do something if anybody ran it, in every field that holds text.

Python tells an audit hook of everything that would matter: code made or run, processes, sockets, files, modules. While
objects are decoded, validated and compiled there must be none of it, and what comes out holds the text as it went in.
"""

import base64
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from functools import cache
from typing import Any, Final

import pytest
from msgspec import inspect

from controlplane.model.decode import decode
from controlplane.model.kinds import KINDS, Kind
from controlplane.model.text import MAX_SENTENCE
from tests.compile.test_every_field import Case, _seen, cases, get, put, shown

PRODUCT: Final = str(7919 * 104729)  # what stands in the output of whoever works these out
PAYLOADS: Final = (
    "__import__('os').system('touch /tmp/lateen-was-here')",
    "7919*104729",
    "{7919*104729}",
    "{{7919*104729}}",
    "${7919*104729}",
    "#{7919*104729}",
    "<%= 7919*104729 %>",
    "{0.__class__.__mro__[1].__subclasses__}",
    "{x.__init__.__globals__[os]}",
    "%(__class__)s%s%n%x",
    "$(touch /tmp/lateen-was-here)",
    "`touch /tmp/lateen-was-here`",
    "; touch /tmp/lateen-was-here #",
    "| touch /tmp/lateen-was-here",
    "!!python/object/apply:os.system ['touch /tmp/lateen-was-here']",
    "os.execute('touch /tmp/lateen-was-here')",
    "cos\nsystem\n(S'touch /tmp/lateen-was-here'\ntR.",
    "../../../../tmp/lateen-was-here",
    "file:///etc/passwd",
    "%REQ(:path)%%ENVIRONMENT(PATH)%%FILE_CONTENT(/etc/passwd)%",
    "<script>alert(7919*104729)</script>",
    "' or 1=1 --",
    "\u001b[2J\u001b]0;x\u0007",
    "a\r\nx-injected: 1",
    "a\0b",
)
QUIET: Final = {"object.__getattr__", "sys._getframe", "gc.get_objects", "builtins.id", "object.__setattr__"}

_TEXTS: Final = (
    inspect.StrType | inspect.BytesType | inspect.CustomType | inspect.EnumType | inspect.DateTimeType | inspect.AnyType
)

_heard: list[str] | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _heard is not None and event not in QUIET:
        _heard.append(f"{event} {arguments!r:.200}")


sys.addaudithook(_hook)  # there is no way to take one away; it says nothing unless it is listened to


@contextmanager
def nothing_happens() -> Iterator[None]:
    """Nothing but computing, in here."""
    global _heard  # noqa: PLW0603  an audit hook can be told in no other way
    _heard = []
    try:
        yield
        heard = _heard
    finally:
        _heard = None
    assert heard == []


# Every kind, every field that holds text, one at a time


def places(described: Any) -> Iterator[tuple[Any, ...]]:
    """Steps to each text in a type: names of fields, "[]" for elements, "{}" for values and "{key}" for keys."""
    if isinstance(described, inspect.UnionType):
        for one in described.types:
            yield from places(one)
    elif isinstance(described, inspect.VarTupleType | inspect.ListType | inspect.CollectionType):
        yield from (("[]", *rest) for rest in places(described.item_type))
    elif isinstance(described, inspect.DictType):
        yield ("{key}",)
        yield from (("{}", *rest) for rest in places(described.value_type))
    elif isinstance(described, inspect.StructType):
        for field in described.fields:
            yield from ((field.encode_name, *rest) for rest in places(field.type))
    elif isinstance(described, _TEXTS):
        yield (described,)


def document(kind: Kind, steps: tuple[Any, ...], text: str) -> dict[str, Any]:
    """An object of a kind with this text at that place, and little else."""
    made: dict[str, Any] = {
        "apiVersion": f"{kind.group}/{kind.versions[0]}".lstrip("/"),
        "kind": kind.kind,
        "metadata": {"name": "x"},
    }
    _merge(made, _value(steps, text))
    return made


def _value(steps: tuple[Any, ...], text: str) -> Any:
    step, *rest = steps
    if step == "[]":
        return [_value(tuple(rest), text)]
    if step == "{}":
        return {"key": _value(tuple(rest), text)}
    if step == "{key}":
        return {text: "value"}
    if isinstance(step, str):
        return {step: _value(tuple(rest), text)}
    return base64.b64encode(text.encode()).decode() if isinstance(step, inspect.BytesType) else text


def _merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


@cache
def all_places(kind: Kind) -> tuple[tuple[Any, ...], ...]:
    found = places(inspect.type_info(kind.type))
    return tuple(("metadata", *steps[1:]) if steps[0] == "meta" else steps for steps in found)


@pytest.mark.point
def test_no_text_of_any_object_is_run_when_it_is_read(proved):
    for kind in KINDS:
        for steps in all_places(kind):
            decode(document(kind, steps, "warm"))
    fields = count = 0
    for kind in KINDS:
        for steps in all_places(kind):
            documents = [document(kind, steps, text) for text in PAYLOADS]
            with nothing_happens():
                found = [decode(one) for one in documents]
            problems = [problem for one in found for problem in one.problems]
            assert all(one.message.isprintable() and len(one.message) <= MAX_SENTENCE + 200 for one in problems)
            assert PRODUCT not in repr(found)
            fields += 1
            count += len(documents)
    assert fields > 700
    proved(
        "identity 7.14", "texts that would do something, in every field of every kind that holds text: that did",
        bound="0", figure="0", holds=True, cases=count, asked=len(PAYLOADS) * 700,
    )  # fmt: skip


# Objects that mean something, compiled


def poisoned(case: Case, text: str) -> Iterator[dict[str, Any]]:
    """The case's object, with each text in the field of the case made another."""
    value = get(case.after, _whole(case))
    for changed in _with(value, text):
        document = deepcopy(case.after)
        put(document, _whole(case), changed)
        yield document


def _whole(case: Case) -> str:
    return case.at


def _with(value: Any, text: str) -> Iterator[Any]:
    if isinstance(value, str):
        yield text
        yield value + text
    elif isinstance(value, list):
        for place, one in enumerate(value):
            yield from ([*value[:place], changed, *value[place + 1 :]] for changed in _with(one, text))
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from ({**value, key: changed} for changed in _with(one, text))
            yield {**value, text: one}


@pytest.mark.parametrize("part", range(4))
@pytest.mark.point
def test_no_text_of_any_object_is_run_when_it_is_compiled(part, proved, size):
    count = 0
    wrong: list[str] = []
    for number, case in enumerate(cases()):
        if number % 4 != part:
            continue
        texts = PAYLOADS if size(0, 1) else [PAYLOADS[number // 4 % len(PAYLOADS)]]
        for text in texts:
            for document in poisoned(case, text):
                if wrong_now := _compiled(case, document):
                    wrong.append(f"{case} {text}: {wrong_now}")
                count += 1
    proved(
        "identity 7.14", "texts that would do something, in objects that are compiled: that did", bound="0",
        figure=f"{len(wrong)} {wrong[:2]}" if wrong else "0", holds=not wrong, cases=count, asked=size(300, 7_500),
    )  # fmt: skip


def _compiled(case: Case, document: dict[str, Any]) -> str:
    with shown(case, document) as (world, clients, problems):
        _seen(world, clients, problems)  # whatever is loaded when it is first needed
    try:
        with nothing_happens(), shown(case, document) as (world, clients, problems):
            seen = _seen(world, clients, problems)
    except AssertionError as heard:
        return str(heard)[:300]
    return PRODUCT if any(PRODUCT.encode() in body for body in seen.resources.values()) else ""


@pytest.mark.parametrize(
    "text", ["eval('7919*104729')", "open('/dev/null').close()", "__import__('this_is_no_module')"]
)
def test_what_happens_is_heard(text):
    with pytest.raises(AssertionError, match=r"compile|open|import"), nothing_happens(), suppress(ImportError):
        eval(text)
