"""Revisions that are decided once for all streams: with these, too, every proxy ends up with what the view has.

The meshes of `test_model` are small, so here one resource is many; what a script is made of, and what ends it, is random.
"""

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from controlplane.snapshot.resource import Resource
from controlplane.snapshot.types import CLUSTER, ENDPOINT, VIRTUAL_HOST
from controlplane.snapshot.view import Changes
from controlplane.xds.protocol import scope, script
from controlplane.xds.protocol.delta import DeltaStream
from controlplane.xds.protocol.quarantine import Quarantine
from controlplane.xds.protocol.responses import Responses
from controlplane.xds.protocol.scope import Scope
from tests.xds.link import Link
from tests.xds.model_client import _clusters_of, _without_name
from tests.xds.protocol.trace import TurnableClock
from tests.xds.test_model import Mesh, links, names
from tests.xds.views import MemoryView, cluster, endpoints, host, listener, route, secret


@pytest.fixture(autouse=True)
def seen(monkeypatch):
    """Counts scripts that were taken up, and those that were not played to their end."""
    found: Counter[str] = Counter()
    take_up, improvise = DeltaStream._take_up_script, DeltaStream._improvise

    def taking(stream: DeltaStream, changes: Changes) -> Changes:
        rest = take_up(stream, changes)
        found["taken up"] += rest is not changes
        return rest

    def improvising(stream: DeltaStream) -> None:
        found["ended"] += stream._on_script
        improvise(stream)

    monkeypatch.setattr(DeltaStream, "_take_up_script", taking)
    monkeypatch.setattr(DeltaStream, "_improvise", improvising)
    monkeypatch.setattr(script, "MANY", 1)
    monkeypatch.setattr(scope, "MANY", 1)
    monkeypatch.setattr(script, "_TOGETHER", {CLUSTER: 1, VIRTUAL_HOST: None})
    return found


class Scripted(Mesh):
    """Now and then everything changes at once, while all is calm or while some are slow."""

    def calm(self) -> None:
        self.heal()
        for link in self.links:
            link.drain()
        for _ in range(8):
            for link in self.links:
                link.settle()
                link.time_passed()
            self.clock.time += 2.0

    @rule(slow=st.lists(links, unique=True), bad=st.sampled_from([False, False, True]), answers=st.integers(0, 3))
    def everything_changes(self, slow: list[int], bad: bool, answers: int) -> None:  # noqa: FBT001
        self.calm()
        for which in slow:
            self.links[which].stall()
        content = self.view.all()
        hosts = content[VIRTUAL_HOST].values()
        clusters = [self.make_cluster(name, "plain") for name in content[CLUSTER]]
        if bad and clusters:
            clusters[0] = self.make_cluster(clusters[0].name, "bad")
        self.publish(*clusters, *(host(each.name, *_clusters_of(each.body), v=self.next()) for each in hosts))
        for link in self.links:
            for _ in range(answers):
                link.deliver()
                link.answer()

    @rule(name=names)
    def everything_changes_and_something_goes(self, name: str) -> None:
        self.everything_changes([0, 1, 2], bad=False, answers=1)
        self.remove_service(name)


def test_with_scripts_all_get_the_same(seen):
    how = settings(
        max_examples=int(os.environ.get("MODEL_EXAMPLES", "40")),
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    run_state_machine_as_test(Scripted, settings=how)
    assert seen["taken up"] > 15
    assert seen["ended"] > 2


class Calm:
    """Two proxies that have all of a small mesh."""

    def __init__(self) -> None:
        hosts = [host(f"80/{name}", name) for name in "ab"]
        made = [one for name in "abc" for one in (cluster(name), endpoints(name))]
        self.view = MemoryView([*made, cluster("slow", secret="s"), secret("s"), listener("l80", rds="80"), route("80"), *hosts])  # fmt: skip
        self.scope = Scope(self.view, Responses())
        clock = TurnableClock()
        self.links = [Link(self.view, self.scope, clock, Quarantine(), set(), delta=True) for _ in range(2)]
        for link in self.links:
            link.connect()
            link.settle()

    def publish(self, *resources: Resource) -> None:
        said = self.scope.advance(self.view.apply(*resources))["delta"]
        for link in self.links:
            link.tell(said)

    def settle(self) -> None:
        for link in self.links:
            link.drain()
            link.settle()

    def arrived(self, kind: str, *resources: Resource) -> bool:
        bodies = {each.name: _without_name(each.body) if kind == "hosts" else each.body for each in resources}
        return all(bodies.items() <= link.client.state()[kind].items() for link in self.links)


def test_calm_streams_share_every_response(seen):
    calm = Calm()
    built = calm.scope.responses.built
    changed = [cluster(name, 2) for name in "abc"], [host(f"80/{name}", name, v=2) for name in "ab"]
    calm.publish(*changed[0], *changed[1])
    calm.settle()
    assert calm.arrived("clusters", *changed[0])
    assert calm.arrived("hosts", *changed[1])
    assert seen == {"taken up": 2, "ended": 0}
    assert calm.scope.responses.built - built == 7, "three clusters, each with its endpoints, and the hosts"


def test_what_changes_meanwhile_follows(seen):
    calm = Calm()
    for link in calm.links:
        link.stall()
    calm.publish(*(cluster(name, 2) for name in "abc"))
    latest = [cluster("c", 3), endpoints("c", 3), endpoints("a", 3)]
    for each in latest:
        calm.publish(each)
    calm.settle()
    assert calm.arrived("clusters", cluster("a", 2), cluster("b", 2), cluster("c", 3))
    assert calm.arrived("endpoints", *latest[1:])
    assert seen["ended"] == 0


def test_what_may_never_be_warm_is_left_to_each_stream(seen):
    calm = Calm()
    calm.publish(cluster("a", 2), cluster("slow", 2, secret="s"))
    calm.settle()
    assert calm.arrived("clusters", cluster("a", 2), cluster("slow", 2, secret="s"))
    assert seen["taken up"] == 2


def test_status_says_pending_while_there_is_more(seen):
    calm = Calm()
    link = calm.links[0]
    link.stall()
    calm.publish(*(cluster(name, 2) for name in "abc"))
    assert link.stream is not None
    standing = {each.type_url: each.standing for each in link.stream.status()}
    assert (standing[CLUSTER], standing[ENDPOINT]) == ("pending", "pending")
    calm.settle()
    assert {each.standing for each in link.stream.status()} == {"synced"}
    assert seen["ended"] == 0


def test_a_stream_that_ends_in_the_middle_doubts_the_endpoints_of_clusters_it_sent(seen):
    calm = Calm()
    link = calm.links[0]
    link.stall()
    calm.publish(cluster("a", 2))
    assert link.stream is not None
    assert "a" in link.stream.doubts()[ENDPOINT]
    assert seen["ended"] == 1


def test_hosts_are_not_scripted_when_one_of_them_comes_or_goes(seen):
    """It may have the domain of another, and both move in one response."""
    calm = Calm()
    changed = [host("80/a", "a", v=2, domains=["moved"]), host("80/n", "a", domains=["a"])]
    calm.publish(*changed)
    calm.settle()
    assert calm.arrived("hosts", *changed)
    assert seen == Counter()
