"""Options and fixtures every room shares."""

import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest
import structlog
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from tests.proof.ledger import PROPERTY, Line, lines_of, table

# A busy machine is slow, which says nothing about the code: time is for benchmarks. `make test` says the same twice;
# new examples are looked for at full size.
_ANY_SPEED: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
hypothesis_settings.register_profile("same", derandomize=True, **_ANY_SPEED)
hypothesis_settings.register_profile("searching", **_ANY_SPEED)

# Every run has a root of its own. In the one that runs of a user share, the next run takes away the rights that meshes
# of this one, which run as somebody else, need to reach their folders.
_OWN_ROOT: pytest.StashKey[str] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="full sizes of the numbered points instead of small ones")
    parser.addoption("--fullest", action="store_true", help="with --full: the sizes that take hours, too")
    parser.addoption("--bench", action="store_true", help="also the points that are about time: alone on the machine")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.option.basetemp is None:
        config.option.basetemp = config.stash[_OWN_ROOT] = tempfile.mkdtemp(prefix="pytest-lateen-")
    # Whoever starts the tests in the background may have these ignored, and children inherit it: tests send them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    hypothesis_settings.load_profile("searching" if config.getoption("--full") else "same")
    config.addinivalue_line("markers", "point: proves a numbered point; `make prove` runs these at full size")
    config.addinivalue_line("markers", "full: takes far longer than the rest, so it runs at full size only (--full)")
    config.addinivalue_line("markers", "bench: is about time, so it runs alone and only when asked for (--bench)")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: a third of the time tests wait for what they started."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """What failed is left to look at."""
    root = session.config.stash.get(_OWN_ROOT, None)
    if root is not None and exitstatus == pytest.ExitCode.OK:
        shutil.rmtree(root, ignore_errors=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for mark in ("bench", "full"):
        if not config.getoption(f"--{mark}"):
            left_out = [item for item in items if item.get_closest_marker(mark)]
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if not item.get_closest_marker(mark)]


@pytest.fixture(autouse=True)
def _own_logs() -> Iterator[None]:
    """A command that a test runs sets logs up for its process: the next test hears libraries in them no more."""
    handlers = list(logging.root.handlers)
    yield
    logging.root.handlers[:] = handlers
    structlog.reset_defaults()


class Size(Protocol):
    """See `size`."""

    def __call__(self, small: int, full: int, fullest: int | None = None, /) -> int: ...


@pytest.fixture(scope="session")
def size(request: pytest.FixtureRequest) -> Size:
    """`size(small, full)`: how many cases to run. Nothing is skipped in either run; `--full` runs more of it.

    `fullest`: what would take hours has a third size.
    """
    full, fullest = request.config.getoption("--full"), request.config.getoption("--fullest")

    def chosen(small: int, all_of_them: int, most: int | None = None, /) -> int:
        if fullest and most is not None:
            return most
        return all_of_them if full else small

    return chosen


class Proved(Protocol):
    """See `proved`."""

    def __call__(
        self, point: str, what: str, *, bound: str, figure: str, holds: bool, cases: int, asked: int
    ) -> None: ...


@pytest.fixture
def proved(request: pytest.FixtureRequest, record_property: Callable[[str, Any], None]) -> Proved:
    """Leaves a line in the ledger and fails the test if the point does not hold or too few cases were run."""
    assert request.node.get_closest_marker("point"), "`make prove` would not run this: mark it with `point`"

    def record(point: str, what: str, *, bound: str, figure: str, holds: bool, cases: int, asked: int) -> None:
        line = Line(point, what, bound, figure, cases, asked, holds)
        record_property(PROPERTY, tuple(line))
        assert cases >= asked, f"only {cases} of {asked} cases: {line}"
        assert holds, line

    return record


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [
        report for many in terminalreporter.stats.values() for report in many if hasattr(report, "user_properties")
    ]
    lines = lines_of(reports)
    if lines:
        terminalreporter.section("what was shown")
        for row in table(lines):
            terminalreporter.write_line(row)
