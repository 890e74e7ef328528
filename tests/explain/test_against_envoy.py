"""The simulator has one purpose, to say what Envoy does; so it is held against Envoy, on random calls."""

import json

import pytest

from tests.conftest import Proved, Size
from tests.envoys import Upstreams
from tests.explain.coverage import REQUIRED, REQUIRED_OF_FEW, REQUIRED_OF_MESHES, Coverage
from tests.explain.differential import Disagreement, Report, run
from tests.explain.generate import provide
from tests.explain.meshes import provide as provide_mesh
from tests.explain.shrink import shrink, to_json
from tests.meshes import IDENTITIES

_SHOWN = 2  # disagreements worth shrinking at once; the rest have mostly the same cause


@pytest.mark.point
@pytest.mark.timeout(1800)
def test_random_configurations(size: Size, proved: Proved) -> None:
    with Upstreams() as upstreams:
        report = run(provide, range(size(100, 500)), upstreams)
    agree("random Envoy configurations", report, size(1_400, 7_000), proved)
    reaches(report.coverage, REQUIRED)


@pytest.mark.point
@pytest.mark.timeout(1800)
def test_random_meshes(size: Size, proved: Proved) -> None:
    with Upstreams(IDENTITIES) as upstreams:
        report = run(provide_mesh, range(size(8, 160)), upstreams, batch=1)
    agree("random meshes", report, size(200, 5_000), proved)
    reaches(report.coverage, (REQUIRED_OF_FEW, REQUIRED_OF_MESHES)[size(0, 1)])


def agree(what: str, report: Report, asked: int, proved: Proved) -> None:
    found = len(report.disagreements)
    if found:
        print("\n\n".join(words(one) for one in report.disagreements[:_SHOWN]))
    proved(
        "3.1", f"calls in {what}: simulator against Envoy",
        bound="0 disagreements", figure=f"{found} disagreements", holds=not found,
        cases=report.coverage.calls, asked=asked,
    )  # fmt: skip


def reaches(coverage: Coverage, required: frozenset[str]) -> None:
    print(coverage.table())
    assert coverage.missing(required) == []
    assert coverage.negative_share >= 0.2
    assert coverage.doubtful == 0


def words(one: Disagreement) -> str:
    """Shrunk first, in the form that goes into `cases/`."""
    resources, call = shrink(one.resources, one.call)
    steps = "\n".join(f"    {step.stage}: {step.found} ({step.why})" for step in one.said.steps)
    return "\n".join([*one.differences, steps, json.dumps(to_json(resources, call), indent=1)])
