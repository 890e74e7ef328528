"""Every golden case: the same output as before, and the real Envoy takes it."""

from pathlib import Path

import pytest

from controlplane.explain.resources import decode
from tests.conftest import Proved
from tests.envoy import golden
from tests.envoy.scaffold import completed
from tests.envoys import validate
from tests.golden.files import cases, found

CASES = cases("envoy")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_output_is_as_it_was(case: Path) -> None:
    """`make golden` writes it anew; look at the difference before committing it."""
    assert golden.outputs(case) == found(case)


@pytest.mark.point
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_envoy_takes_it(case: Path, proved: Proved) -> None:
    resources, _ = decode(completed(golden.load(case)))
    refused = validate(resources)
    print(*refused, sep="\n")
    proved(
        "3", "golden configurations that `envoy --mode validate` refuses",
        bound="0", figure=str(len(refused)), holds=not refused, cases=1, asked=1,
    )  # fmt: skip


def test_there_are_as_many_cases_as_ever() -> None:
    assert len(CASES) >= 19
