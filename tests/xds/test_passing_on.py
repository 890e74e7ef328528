"""The short cut of quiet streams, against streams that never take it, over the random meshes of `test_model` too."""

import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from controlplane.snapshot.resource import Resource
from controlplane.snapshot.types import VIRTUAL_HOST
from controlplane.xds.protocol.quarantine import Quarantine
from controlplane.xds.protocol.responses import Responses
from controlplane.xds.protocol.scope import Scope
from tests.xds.link import Link
from tests.xds.model_client import _clusters_of
from tests.xds.protocol.trace import TurnableClock
from tests.xds.test_model import Mesh, names
from tests.xds.twin import Counting
from tests.xds.views import MemoryView, cluster, endpoints, host, listener, route


class Twins(Mesh):
    """Each delta stream has a twin that must say the same."""

    twins = True

    @rule(name=names, changes=st.integers(1, 3))
    def calm(self, name: str, changes: int) -> None:
        """Everything is healed and arrives; then small things change, so that there is a short cut to take."""
        self.heal()
        for link in self.links:
            link.drain()
        for _ in range(8):
            for link in self.links:
                link.settle()
                link.time_passed()
            self.clock.time += 2.0
        for _ in range(changes):
            self.change_endpoints(name, bad=False)
            hosts = self.view.all()[VIRTUAL_HOST]
            if hosts:
                first = min(hosts)
                self.publish(host(first, *_clusters_of(hosts[first].body), v=self.next()))


def test_short_cuts_say_what_decisions_say():
    Counting.passed_on = 0
    examples = int(os.environ.get("MODEL_EXAMPLES", "40"))
    checks = list(HealthCheck)
    how = settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=checks,
        phases=[Phase.generate],
    )
    run_state_machine_as_test(Twins, settings=how)
    assert Counting.passed_on > 20


class Quiet:
    """Three proxies that have all of a small mesh."""

    def __init__(self) -> None:
        content = (cluster("a"), cluster("b"), endpoints("a"), listener("l80", rds="80"), route("80"))
        self.view = MemoryView([*content, host("80/a", "a")])
        self.scope = Scope(self.view, Responses())
        clock, quarantine = TurnableClock(), Quarantine()
        self.links = [Link(self.view, self.scope, clock, quarantine, set(), delta=True, twins=True) for _ in range(3)]
        for link in self.links:
            link.connect()
            link.settle()
        Counting.passed_on = 0

    def publish(self, resource: Resource) -> None:
        said = self.scope.advance(self.view.apply(resource))["delta"]
        for link in self.links:
            link.tell(said)

    def settle(self) -> None:
        for link in self.links:
            link.settle()

    def has(self, kind: str, resource: Resource) -> bool:
        return all(link.client.state()[kind].get(resource.name) == resource.body for link in self.links)


def test_a_quiet_stream_passes_on_what_is_plain():
    quiet = Quiet()
    for resource in (endpoints("a", 2), endpoints("a", 3)):
        quiet.publish(resource)
        quiet.settle()
        assert quiet.has("endpoints", resource)
    quiet.publish(host("80/a", "a", v=2))
    assert Counting.passed_on == 9


def test_a_stream_that_writes_decides():
    quiet = Quiet()
    for link in quiet.links:
        link.stall()
    quiet.publish(endpoints("a", 2))
    quiet.publish(endpoints("a", 3))
    assert Counting.passed_on == 3
    for link in quiet.links:
        link.drain()
    quiet.settle()
    assert quiet.has("endpoints", endpoints("a", 3))


def test_what_names_another_cluster_is_decided():
    quiet = Quiet()
    quiet.publish(host("80/a", "a", "b", v=2))
    assert Counting.passed_on == 0


def test_what_comes_and_goes_is_decided():
    quiet = Quiet()
    quiet.publish(endpoints("b", 2))
    quiet.publish(host("80/b", "b"))
    assert Counting.passed_on == 0
