"""The ledger itself: every line once, parts together, and what falls short is not hidden by what holds."""

from types import SimpleNamespace

from tests.proof.ledger import PROPERTY, Line, lines_of, table

HELD = Line("3", "meshes", "0", "0", 50, 50, holds=True)


def report(test: str, *lines: Line) -> SimpleNamespace:
    return SimpleNamespace(nodeid=test, user_properties=[("other", 1), *((PROPERTY, tuple(line)) for line in lines)])


def test_a_line_that_is_in_several_reports_of_one_test_is_there_once():
    assert lines_of([report("a", HELD), report("a", HELD)]) == [HELD]


def test_parts_of_one_proof_are_one_line():
    assert lines_of([report("a", HELD), report("b", HELD)]) == [HELD._replace(cases=100, asked=100)]


def test_figures_that_differ_are_all_told():
    assert lines_of([report("a", HELD), report("b", HELD._replace(figure="1"))])[0].figure == "0, 1"


def test_a_part_that_falls_short_makes_the_whole_fall_short():
    for bad in (HELD._replace(holds=False), HELD._replace(cases=49, asked=50)):
        more = HELD._replace(cases=60)
        (line,) = lines_of([report("a", more), report("b", bad)])
        assert not line.holds
        assert table([line])[1].endswith("FALLS SHORT")


def test_points_are_in_order_of_number():
    lines = [HELD._replace(point=point) for point in ("10", "6.2", "identity 1", "6.10", "2")]
    assert [line.point for line in lines_of([report("a", *lines)])] == ["2", "6.2", "6.10", "10", "identity 1"]
