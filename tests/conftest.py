"""Options and fixtures every room shares."""

from collections.abc import Callable

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="full sizes of the numbered points instead of small ones")


@pytest.fixture(scope="session")
def size(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """`size(small, full)`: how many cases to run. Nothing is skipped in either run; `--full` runs more of it."""
    full: bool = request.config.getoption("--full")
    return lambda small, all_of_them: all_of_them if full else small
