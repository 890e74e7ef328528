"""What a control plane says of an object before it is stored."""

from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

from controlplane.app.control import ControlPlane
from controlplane.app.foreseeing import foreseeing
from controlplane.compile.graph import Graph
from controlplane.model.decode import decode
from controlplane.model.meta import ref_of
from controlplane.model.settings import Settings
from controlplane.runtime.clock import SystemClock

LOST = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "lost", "namespace": "default"},
    "spec": {"hosts": ["a.com"], "gateways": ["nowhere"], "http": [{"directResponse": {"status": 200}}]},
}


class Served:
    """As far as it is asked here."""

    def __init__(self, *, is_serving: bool = True) -> None:
        self.graph = Graph(Settings())
        self.is_serving = is_serving


class Hurried:
    """A second has gone whenever it is looked at."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._seconds, UTC)

    def monotonic(self) -> float:
        self._seconds += 1
        return self._seconds


def told(control: Any, clock: Any) -> list[str]:
    as_control: ControlPlane = control
    value: Any = decode(deepcopy(LOST)).value
    return [problem.origin.path for problem in foreseeing(as_control, clock)(ref_of(value), value)]


def test_what_the_mesh_lacks_is_said_and_nothing_of_it_is_kept() -> None:
    control = Served()
    assert told(control, SystemClock()) == ["spec.gateways"]
    assert list(control.graph.store.reports()) == []


def test_before_a_mesh_is_read_everything_would_be_missing_in_it() -> None:
    assert told(Served(is_serving=False), SystemClock()) == []


def test_nobody_waits_for_it() -> None:
    assert told(Served(), Hurried()) == []
