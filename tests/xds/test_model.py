"""Random meshes, random edits, random networks: every proxy ends up with the same, and none is hurt on the way.

Three proxies see one scope: one over SotW, one over delta, one over delta whose stream breaks at random. The model
client raises when a rule is broken; at the end the mesh is healed and all three must have exactly what the view has.
"""

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from controlplane.snapshot.resource import Ref, Resource
from controlplane.snapshot.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, VIRTUAL_HOST
from controlplane.xds.protocol.content import empty_assignment
from controlplane.xds.protocol.quarantine import Quarantine
from controlplane.xds.protocol.responses import Responses
from controlplane.xds.protocol.scope import Scope
from tests.xds.link import Link
from tests.xds.model_client import Facts, _clusters_of, _header, _is_bad, _without_name
from tests.xds.protocol.trace import TurnableClock
from tests.xds.views import MemoryView, cluster, endpoints, host, listener, route, secret

NAMES = ["a", "b", "c", "d"]
ROUTES = ["80", "81"]
names = st.sampled_from(NAMES)
routes = st.sampled_from(ROUTES)
links = st.integers(0, 2)
kinds = st.sampled_from(["plain", "plain", "plain", "secret", "dns", "bad"])


class Mesh(RuleBasedStateMachine):
    """See the module."""

    twins = False  # whether each delta stream has one beside it that takes no short cuts

    @initialize(first=st.lists(names, unique=True))
    def begin(self, first: list[str]) -> None:
        self.version = 1
        self.clock = TurnableClock()
        self.view = MemoryView([listener("l80", rds="80"), route("80")])
        self.scope = Scope(self.view, Responses())
        self.answering: set[str] = set()
        quarantine = Quarantine()
        made = (
            Link(self.view, self.scope, self.clock, quarantine, self.answering, delta=delta, twins=self.twins)
            for delta in (False, True, True)
        )
        self.links = list(made)
        for name in first:
            self.add_service(name, "80", "plain")
        for link in self.links:
            link.connect()

    # Edits

    def publish(self, *resources: Resource, remove: tuple[Ref, ...] = ()) -> None:
        changes = self.view.apply(*resources, remove=remove)
        said = self.scope.advance(changes)
        for link in self.links:
            if link.stream is not None:
                link.tell(said[link.stream.protocol])

    def next(self) -> int:
        self.version += 1
        return self.version

    def make_cluster(self, name: str, kind: str) -> Resource:
        secret_name = f"s-{name}" if kind == "secret" else ""
        return cluster(name, self.next(), secret=secret_name, dns=kind == "dns", bad=kind == "bad")

    @rule(name=names, rds=routes, kind=kinds)
    def add_service(self, name: str, rds: str, kind: str) -> None:
        """A cluster, its endpoints and a host appear, in one revision."""
        v = self.next()
        self.publish(self.make_cluster(name, kind), endpoints(name, v), host(f"{rds}/{name}", name, v=v))

    @rule(name=names)
    def remove_service(self, name: str) -> None:
        """All of it goes, in one revision; hosts that name it besides stay."""
        hosts = (Ref(VIRTUAL_HOST, f"{rds}/{name}") for rds in ROUTES)
        self.publish(remove=(Ref(CLUSTER, name), Ref(ENDPOINT, name), *hosts))

    @rule(name=names, kind=kinds)
    def change_cluster(self, name: str, kind: str) -> None:
        if self.view.get(CLUSTER, name):
            self.publish(self.make_cluster(name, kind))

    @rule(name=names, bad=st.booleans())
    def change_endpoints(self, name: str, bad: bool) -> None:  # noqa: FBT001
        if self.view.get(CLUSTER, name):
            self.publish(endpoints(name, self.next(), bad=bad))

    @rule(name=names)
    def lose_endpoints(self, name: str) -> None:
        self.publish(remove=(Ref(ENDPOINT, name),))

    @rule(name=names)
    def lose_cluster(self, name: str) -> None:
        """Missing by definition: hosts may go on naming it."""
        self.publish(remove=(Ref(CLUSTER, name), Ref(ENDPOINT, name)))

    @rule(
        rds=routes, name=names, to=st.lists(names, unique=True, max_size=2), bad=st.sampled_from([False] * 4 + [True])
    )
    def point_host(self, rds: str, name: str, to: list[str], bad: bool) -> None:  # noqa: FBT001
        """The weights of a host move."""
        self.publish(host(f"{rds}/{name}", *to, v=self.next(), bad=bad))

    @rule(rds=routes, name=names)
    def remove_host(self, rds: str, name: str) -> None:
        self.publish(remove=(Ref(VIRTUAL_HOST, f"{rds}/{name}"),))

    @rule(name=names, old=names, rds=routes)
    def switch(self, name: str, old: str, rds: str) -> None:
        """A host moves from one cluster to a new one, and the old one goes: the hard case of make before break."""
        if name != old:
            v = self.next()
            parts = (self.make_cluster(name, "plain"), endpoints(name, v), host(f"{rds}/{old}", name, v=v))
            self.publish(*parts, remove=(Ref(CLUSTER, old), Ref(ENDPOINT, old)))

    @rule(rds=routes, bad=st.sampled_from([False, False, True]))
    def put_listener(self, rds: str, bad: bool) -> None:  # noqa: FBT001
        self.publish(listener(f"l{rds}", rds=rds, v=self.next(), bad=bad), route(rds))

    @rule(rds=routes)
    def remove_listener(self, rds: str) -> None:
        self.publish(remove=(Ref(LISTENER, f"l{rds}"),))

    @rule(to=st.lists(names, unique=True, max_size=2))
    def put_tcp_listener(self, to: list[str]) -> None:
        self.publish(listener("tcp", *to, v=self.next()))

    @rule(rds=routes)
    def change_route(self, rds: str) -> None:
        if self.view.get(ROUTE, rds):
            self.publish(route(rds, self.next()))

    @rule(name=names, there=st.booleans())
    def put_secret(self, name: str, there: bool) -> None:  # noqa: FBT001
        if there:
            self.publish(secret(f"s-{name}", self.next()))
        else:
            self.publish(remove=(Ref(SECRET, f"s-{name}"),))

    @rule(name=names)
    def dns_answers(self, name: str) -> None:
        self.answering.add(name)
        for link in self.links:
            if name in link.client.warming:
                link.client.warming[name].dns = False

    # The network

    @rule(which=links, count=st.integers(1, 4))
    def deliver(self, which: int, count: int) -> None:
        for _ in range(count):
            self.links[which].deliver()

    @rule(which=links, count=st.integers(1, 4))
    def answer(self, which: int, count: int) -> None:
        for _ in range(count):
            self.links[which].answer()

    @rule(which=links)
    def settle(self, which: int) -> None:
        self.links[which].settle()

    @rule(which=links)
    def stall(self, which: int) -> None:
        self.links[which].stall()

    @rule(which=links)
    def drain(self, which: int) -> None:
        self.links[which].drain()

    @rule()
    def disconnect(self) -> None:
        self.links[2].disconnect()

    @rule()
    def reconnect(self) -> None:
        self.links[2].disconnect()
        self.links[2].connect()

    @rule(seconds=st.sampled_from([0.1, 1.0, 6.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.time += seconds
        for link in self.links:
            link.time_passed()

    # What must be true

    @invariant()
    def memory_is_bounded(self) -> None:
        for link in getattr(self, "links", ()):
            if link.stream is not None:
                assert link.stream.extent < 120

    def teardown(self) -> None:
        if not hasattr(self, "links"):
            return
        self.heal()
        for link in self.links:
            link.drain()
            if link.stream is None:
                link.connect()
        for _ in range(40):
            for link in self.links:
                link.settle()
            self.clock.time += 1.0
            for link in self.links:
                link.time_passed()
        self.compare()

    def heal(self) -> None:
        """Nothing is bad or missing any more."""
        self.answering.update(NAMES)
        for link in self.links:
            for warming in link.client.warming.values():
                warming.dns = False
        content = self.view.all()
        repaired: list[Resource] = []
        for name, each in content[CLUSTER].items():
            kind = "secret" if Facts(each.body).value("secret") else "dns" if each.waits else "plain"
            repaired.append(self.make_cluster(name, kind))
        bad = [each for each in content[VIRTUAL_HOST].values() if _is_bad(each.body)]
        repaired += [host(each.name, *_clusters_of(each.body), v=self.next()) for each in bad]
        named = {ref.name for kind in content.values() for each in kind.values() for ref in each.refs}
        missing = [name for name in NAMES if name in named and name not in content[CLUSTER]]
        repaired += [cluster(name, self.next()) for name in missing]
        repaired += [endpoints(name, self.next()) for name in NAMES]
        repaired += [secret(f"s-{name}", self.next()) for name in NAMES]
        for name, each in content[LISTENER].items():
            if Facts(each.body).is_bad:
                repaired.append(listener(name, rds=Facts(each.body).value("rds"), v=self.next()))
        self.publish(*repaired)

    def compare(self) -> None:
        expected = self.expected()
        for link in self.links:
            found = link.client.state()
            assert found == expected, difference(found, expected)
            assert link.client.open_listeners() == set(expected["listeners"])
            assert not link.client.warming
            assert link.stream is not None
            unsettled = [each for each in link.stream.status() if each.standing not in {"synced", "NACKed"}]
            assert not unsettled, unsettled
            assert link.stream.extent < 40

    def expected(self) -> dict[str, dict[str, bytes]]:
        content = self.view.all()
        served = {Facts(each.body).value("rds") for each in content[LISTENER].values()} & set(content[ROUTE])
        eds = [name for name, each in content[CLUSTER].items() if not each.waits]
        wanted = {Facts(each.body).value("secret") for each in content[CLUSTER].values()} - {""}
        assigned = {name: content[ENDPOINT].get(name) or empty_assignment(name) for name in eds}
        hosts = {name: each for name, each in content[VIRTUAL_HOST].items() if name.partition("/")[0] in served}
        return {
            "clusters": {name: each.body for name, each in content[CLUSTER].items()},
            "endpoints": {name: each.body for name, each in assigned.items()},
            "listeners": {name: each.body for name, each in content[LISTENER].items()},
            "routes": {name: _header(content[ROUTE][name].body) for name in served},
            "hosts": {name: _without_name(each.body) for name, each in hosts.items()},
            "secrets": {name: content[SECRET][name].body for name in wanted},
        }


def difference(found: dict[str, dict[str, bytes]], expected: dict[str, dict[str, bytes]]) -> str:
    return "\n".join(
        f"{kind} {name}: has {found[kind].get(name)!r}, should have {wanted.get(name)!r}"
        for kind, wanted in expected.items()
        for name in sorted({*wanted, *found[kind]})
        if wanted.get(name) != found[kind].get(name)
    )


Mesh.TestCase.settings = settings(
    max_examples=int(os.environ.get("MODEL_EXAMPLES", "40")),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestMesh = Mesh.TestCase
