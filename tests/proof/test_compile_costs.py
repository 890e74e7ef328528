"""Point 6, as far as compiling goes: bounds on cost, measured alone on the machine."""

import pytest

from bench.machine import apart
from tests.proof.rounds import OF_ROUNDS, ROUNDS, least

pytestmark = [pytest.mark.point, pytest.mark.bench]
HIGHEST_GROWTH = 1.5


@pytest.fixture(scope="module")
def measured():
    """Each figure is a median of five; what counts is the best of a few rounds: noise of the machine only ever adds."""
    return [apart("compile", "--services", "100,5000", "--scopes") for _ in range(ROUNDS)]


def test_full_compile(measured, proved):
    seconds = least(measured, "sizes", 1, "full compile s")
    proved(
        "6.1", "full compile, 5,000 services, first proxy",
        bound="< 1 s CPU", figure=f"{seconds:.2f} s, {OF_ROUNDS}", holds=seconds < 1, cases=ROUNDS, asked=ROUNDS,
    )  # fmt: skip


def test_second_proxy(measured, proved):
    ms = least(measured, "sizes", 1, "second proxy ms")
    proved(
        "6.1", "second proxy of the same scope",
        bound="< 5 ms", figure=f"{ms:.2f} ms, {OF_ROUNDS}", holds=ms < 5, cases=ROUNDS, asked=ROUNDS,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["endpoint", "weight", "destination rule", "new service"])
def test_a_change_costs_what_it_changes(kind, measured, proved):
    small, large = (least(measured, "sizes", which, "changes", kind, "us") for which in (0, 1))
    functions = [measured[0]["sizes"][which]["changes"][kind]["functions"] for which in (0, 1)]
    proved(
        "6.2", f"{kind} change: 5,000 services against 100",
        bound="<= 1.5 x", figure=f"{large:.0f} / {small:.0f} us, {functions[1]:.0f} / {functions[0]:.0f} functions, {OF_ROUNDS}",
        holds=large <= HIGHEST_GROWTH * small, cases=ROUNDS, asked=ROUNDS,
    )  # fmt: skip


def test_two_hundred_label_sets(measured, proved):
    ratio, memory = (least(measured, "scopes", what) for what in ("ratio", "memory ratio"))
    proved(
        "6.3", "200 label sets, 20 selector rules, against one scope",
        bound="<= 1.3 x", figure=f"{ratio:.2f} x time, {memory:.2f} x memory, {OF_ROUNDS}",
        holds=max(ratio, memory) <= 1.3, cases=200, asked=200,
    )  # fmt: skip


def test_what_a_change_sends(measured, proved):
    weight, endpoint = (measured[0]["sizes"][1]["changes"][kind] for kind in ("weight", "endpoint"))
    holds = weight["resources"] == 1 and weight["bytes"] <= 1536 and endpoint["resources"] == 1
    proved(
        "6.4", "a weight change is one virtual host, an endpoint change one assignment",
        bound="<= 1,536 bytes", figure=f"{weight['bytes']:.0f} and {endpoint['bytes']:.0f} bytes",
        holds=holds, cases=ROUNDS, asked=ROUNDS,
    )  # fmt: skip
