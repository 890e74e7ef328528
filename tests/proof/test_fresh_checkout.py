"""Point 1: what is committed works where nothing was installed but Python, pip and make."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local.meshes import REPOSITORY

pytestmark = [pytest.mark.point, pytest.mark.full, pytest.mark.timeout(3600)]

WELL = "All went as it should"
# How pip reaches an index from here is the machine's matter, like its certificates and its proxies.
_OF_THE_MACHINE = ("PIP_", "SSL_", "REQUESTS_", "CURL_")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")


@pytest.fixture(scope="module")
def checkout() -> Iterator[Path]:
    """A clone of what is committed. Another user may look into it: tests run meshes without privileges."""
    with tempfile.TemporaryDirectory(prefix="lateen-fresh-") as name:
        Path(name).chmod(0o755)
        folder = Path(name) / "lateen"
        subprocess.run(["git", "clone", "--quiet", REPOSITORY, folder], check=True)
        yield folder


def environment(home: Path) -> dict[str, str]:
    """Of somebody who just logged in: no virtual environment, no `PYTHONPATH`, and no caches."""
    here = {key: value for key, value in os.environ.items() if key.startswith(_OF_THE_MACHINE)}
    here |= {key: value for key, value in os.environ.items() if key.lower() in _PROXIES}
    python = Path(sys.base_prefix) / "bin"
    return {**here, "HOME": str(home), "PATH": f"{python}:/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


def run(checkout: Path, target: str) -> tuple[int, str]:
    """Exit code of a make target, and its last line."""
    home = checkout.parent / "home"
    home.mkdir(exist_ok=True)
    command = ["make", target]
    done = subprocess.run(
        command,
        cwd=checkout,
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    print(done.stdout[-8000:], done.stderr[-8000:], sep="\n")
    return done.returncode, (done.stdout.strip().splitlines() or [""])[-1]


def test_the_demo_runs(checkout, proved):
    assert shutil.which("make")
    code, last = run(checkout, "demo")
    proved(
        "1", "`make demo` in a fresh checkout",
        bound="exit 0", figure=f'exit {code}, "{last}"', holds=code == 0 and WELL in last, cases=1, asked=1,
    )  # fmt: skip


def test_the_tests_run(checkout, proved):
    code, last = run(checkout, "test")
    proved(
        "1", "`make test` in a fresh checkout",
        bound="exit 0", figure=f"exit {code}, {last.strip('= ')}", holds=code == 0, cases=1, asked=1,
    )  # fmt: skip
