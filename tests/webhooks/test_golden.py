"""Golden Pods: what injection makes of each, byte for byte, is in files that were read by somebody."""

import msgspec
import pytest

from controlplane.webhooks.injection.decision import STATUS
from controlplane.webhooks.injection.render import Injected, Left, inject
from controlplane.webhooks.jsonpatch import diff
from tests.golden.files import cases, found
from tests.webhooks.golden import Case, outputs
from tests.webhooks.patching import applied

CASES = cases("injection")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_made_is_what_was_read(case):
    assert outputs(case) == found(case), "look at the difference, then `make golden`"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_patch_gives_the_pod_and_a_second_time_nothing(case):
    said = Case(case)
    outcome = said.outcome()
    if not isinstance(outcome, Injected):
        return
    patched = applied(said.pod, msgspec.to_builtins(diff(said.pod, outcome.pod)))
    assert patched == outcome.pod
    again = inject(said.settings, said.namespace, patched)
    assert isinstance(again, Left)
    assert again.skipped.why == "injected"
    assert STATUS in patched["metadata"]["annotations"]
