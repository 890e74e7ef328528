"""What is typed after `make e2e`, and which of the two runs of pytest it is for."""

import pytest

from e2e.cluster.__main__ import parted

_CLUSTER = ["e2e", "--ignore=e2e/machine"]


@pytest.mark.parametrize(
    ("words", "on_machine", "in_cluster"),
    [
        ([], ["e2e/machine"], _CLUSTER),
        (["-x", "-k", "a"], ["e2e/machine", "-x", "-k", "a"], [*_CLUSTER, "-x", "-k", "a"]),
        (["e2e/test_a.py::test_b", "-x"], [], ["e2e/test_a.py::test_b", "-x"]),
        (["-x", "e2e/machine/test_a.py"], ["e2e/machine/test_a.py", "-x"], []),
        (["e2e/a.py", "e2e/machine"], ["e2e/machine"], ["e2e/a.py"]),
    ],
)
def test_named_tests_run_where_they_belong_and_options_hold_for_both(
    words: list[str], on_machine: list[str], in_cluster: list[str]
) -> None:
    assert parted(words) == (on_machine, in_cluster)
