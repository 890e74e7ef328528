"""A namespace for each test, on whatever cluster `kubectl` finds."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from e2e.cluster.addresses import CONTROL
from e2e.kubectl import Kubectl, eventually
from e2e.mesh import installed


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "node: asks something of the node of e2e/cluster, not of any cluster")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not CONTROL.exists():
        left_out = [item for item in items if item.get_closest_marker("node")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("node")]


@pytest.fixture(scope="module")
def mesh() -> Iterator[None]:
    """Lateen is in the cluster, for one file of tests: others look at what is left when it is gone."""
    with installed():
        yield


@pytest.fixture
def kubectl() -> Iterator[Kubectl]:
    """In a namespace of the test's own, which goes with it."""
    name = f"e2e-{uuid4().hex[:8]}"
    own = Kubectl(name)
    own("create", "namespace", name)
    eventually(lambda: own("get", "serviceaccount", "default"))
    yield own
    own("delete", "namespace", name, "--wait=false")
