"""Why is this so, what does that reach: the edges, for people."""

from controlplane.store import Change, Store
from tests.store.mesh import Mesh, Rule, Service


def world() -> Mesh:
    mesh = Mesh(Store())
    mesh.store.apply(
        [
            Change(mesh.namespaces, "a", "dev"),
            Change(mesh.services, ("a", "a"), Service((), 1)),
            Change(mesh.services, ("a", "b"), Service((), 1)),
            Change(mesh.endpoints, "a.a", ("1",)),
            Change(mesh.rules, ("a", "r1"), Rule(("*.a",), 1, ("a", "r2"))),
            Change(mesh.rules, ("a", "r2"), Rule((), 2)),
            Change(mesh.rules, ("b", "other"), Rule(("b.b",), 9)),
        ]
    )
    return mesh


def test_why_tells_what_was_asked_for_and_how():
    mesh = world()
    assert [str(read) for read in mesh.store.why(mesh.routes, "a.a")] == [
        "value of Hosts 'a.a'",
        "value of LiveServices ('a', 'a')",
        "value of Cluster ('a.a', 1)",
        "members of RulesByHost 'a.a'",
        "members of RulesByHost '*.a'",
        "value of ResolvedWeight ('a', 'r1')",
    ]


def test_why_finds_the_run_that_made_an_emitted_entry():
    mesh = world()
    assert [str(read) for read in mesh.store.why(mesh.hosts, "a.a")] == ["value of LiveServices ('a', 'a')"]


def test_why_of_a_presence():
    mesh = world()
    reads = [str(read) for read in mesh.store.why(mesh.live, ("a", "a"))]
    assert reads == ["value of Services ('a', 'a')", "presence of Namespaces 'a'"]


def test_origins_go_back_to_the_inputs():
    mesh = world()
    assert set(mesh.store.origins(mesh.routes, "a.a")) == {
        (mesh.namespaces, "a"),
        (mesh.services, ("a", "a")),
        (mesh.endpoints, "a.a"),
        (mesh.rules, ("a", "r1")),
        (mesh.rules, ("a", "r2")),
    }


def test_affected_goes_forth_through_every_kind_of_edge():
    mesh = world()
    reached = set(mesh.store.affected(mesh.rules, ("a", "r2")))
    assert (mesh.resolved, ("a", "r1")) in reached
    assert {(mesh.routes, "a.a"), (mesh.routes, "b.a")} <= reached
    assert (mesh.everything, "a.a") in reached
    assert (mesh.rules, ("a", "r2")) not in reached
    assert not any(handle is mesh.counts for handle, _ in reached)


def test_an_absent_entry_affects_those_who_looked_for_it():
    mesh = world()
    reached = mesh.store.affected(mesh.endpoints, "b.a")
    assert (mesh.assigned, "b.a") in reached
    assert (mesh.routes, "b.a") in reached


def test_the_graph_is_printable():
    mesh = world()
    description = mesh.store.graph()
    lines = str(description).splitlines()
    assert len(lines) == len(mesh.store._graph)
    routes = next(line for line in lines if line.startswith("Routes "))
    assert routes.split() == (
        ["Routes", "derive", "2", "of", "Hosts", "reads", "LiveServices,", "RulesByHost,", "ResolvedWeight,", "Cluster"]
    )
    dot = description.dot()
    assert dot.startswith("digraph")
    assert '"Hosts" -> "Routes";' in dot
    assert '"Cluster" -> "Routes" [style=dashed];' in dot
