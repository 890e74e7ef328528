"""Limits are those of a process, so they are looked at in one of its own."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
from controlplane.runtime.limits import allow_many_files
print(allow_many_files(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(("soft", "hard", "then"), [(64, 500, 500), (500, 500, 500)])
def test_as_many_files_as_allowed(soft: int, hard: int, then: int) -> None:
    program = PROGRAM.format(soft=soft, hard=hard)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(then), str(then), str(hard)]
