"""The evaluator and the compiler are written apart, from the same specification; here an Envoy decides between them.

What is read from policies is held against what an Envoy does that was configured from the same policies, on random
policies and random calls. A call that comes through and should not is a hole; one that is refused and should not be
is a fault; there are none of either.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from controlplane.explain import Address
from controlplane.ir.authorization import Condition, Identity
from controlplane.mesh.authorization import rules
from controlplane.mesh.authorization.logic import any_of
from controlplane.mesh.authorization.texts import text
from tests.conftest import Proved, Size
from tests.envoys import Upstreams
from tests.explain.authorization.differential import PAIRS_OF_A_SET, Disagreement, Report, run, words_of
from tests.explain.authorization.shrink import shrink

_SHOWN = 2  # disagreements worth shrinking at once; the rest have mostly the same cause
_DECIDED = 0.85  # of calls, at least; the rest is refused before rules are asked


@pytest.fixture(scope="module")
def upstream() -> Iterator[Address]:
    """Where an application is that sends back whatever bytes it gets."""
    with Upstreams() as upstreams:
        yield Address(*upstreams.add("echo"))


@pytest.mark.point
@pytest.mark.timeout(4 * 3600)
def test_random_policies_and_calls(upstream: Address, size: Size, proved: Proved) -> None:
    asked = size(20_000, 100_000, 1_000_000)
    report = run(range(round(asked / PAIRS_OF_A_SET / _DECIDED)), upstream)
    for one in report.disagreements[:_SHOWN]:
        print(words_of(shrink(one, upstream)), "\n")
    unsafe = sum(one.is_unsafe for one in report.disagreements)
    safe = len(report.disagreements) - unsafe
    proved(
        "identity 2.1", "(policies, call) pairs, evaluator against Envoy: allowed but should not, refused but should not",
        bound="0, 0", figure=f"{unsafe}, {safe}", holds=not report.disagreements, cases=report.pairs, asked=asked,
    )  # fmt: skip
    reaches(report)


def reaches(report: Report) -> None:
    """Whether the words meet often enough for the figures to mean something."""
    print(dict(report.seen))
    for kind in ("requests", "bytes"):
        total = report.seen[f"{kind} allowed"] + report.seen[f"{kind} denied"]
        assert 0.1 < report.seen[f"{kind} allowed"] / total < 0.9
    assert report.seen["by a rule, allowed"] > report.pairs * 0.1
    assert report.seen["by a rule, denied"] > report.pairs * 0.1


def not_to_be(conditions: Sequence[Condition]) -> Condition:
    """What an absent-minded author would make of `none_of`."""
    return any_of(conditions)


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("none_of", not_to_be),
        ("trust_domains", lambda value, _: (text(value),)),
        ("Identity", lambda namespace=None, **others: Identity(**others)),
        ("_is_known", lambda parts, reading: True),
    ],
    ids=["a not is forgotten", "aliases are forgotten", "namespaces are forgotten", "what cannot be known is true"],
)
@pytest.mark.full
def test_a_fault_would_be_found(name: str, instead: Any, upstream: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, name, instead)
    assert run(range(150), upstream).disagreements


def test_what_is_found_is_made_small(upstream: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "none_of", not_to_be)
    found = _first(upstream)
    small = shrink(found, upstream)
    assert small.is_unsafe is found.is_unsafe
    assert _rules(small) == 1
    assert len(words_of(small)) < len(words_of(found))


def _first(upstream: Address) -> Disagreement:
    for seed in range(50):
        if found := run([seed], upstream).disagreements:
            return found[0]
    pytest.fail("nothing was found")


def _rules(one: Disagreement) -> int:
    return sum(len(document["spec"].get("rules", ())) for document in one.of.documents)
