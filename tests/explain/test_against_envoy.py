"""The simulator has one purpose, to say what Envoy does; so it is held against Envoy, on random configurations."""

import json
from collections.abc import Callable

import pytest

from tests.conftest import Proved
from tests.envoys import Upstreams
from tests.explain.differential import Disagreement, Report, run
from tests.explain.generate import provide
from tests.explain.shrink import shrink, to_json

_SHOWN = 2  # disagreements worth shrinking at once; the rest have mostly the same cause


@pytest.fixture(scope="module")
def report(size: Callable[[int, int], int]) -> Report:
    with Upstreams() as upstreams:
        return run(provide, range(size(100, 500)), upstreams)


@pytest.mark.point
@pytest.mark.timeout(900)
def test_simulator_and_envoy_agree(report: Report, size: Callable[[int, int], int], proved: Proved) -> None:
    found = len(report.disagreements)
    if found:
        print("\n\n".join(_words(one) for one in report.disagreements[:_SHOWN]))
    proved(
        "3.1", "simulator and Envoy, random Envoy configurations",
        bound="0 disagreements", figure=f"{found} disagreements", holds=not found,
        cases=report.coverage.calls, asked=size(1_400, 7_000),
    )  # fmt: skip


@pytest.mark.point
def test_the_random_calls_reach_everything(report: Report) -> None:
    print(report.coverage.table())
    assert report.coverage.missing() == []
    assert report.coverage.negative_share >= 0.2
    assert report.coverage.doubtful == 0


def _words(one: Disagreement) -> str:
    """Shrunk first, in the form that goes into `cases/`."""
    resources, call = shrink(one.resources, one.call)
    steps = "\n".join(f"    {step.stage}: {step.found} ({step.why})" for step in one.said.steps)
    return "\n".join([*one.differences, steps, json.dumps(to_json(resources, call), indent=1)])
