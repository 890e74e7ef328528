"""What a status says: true, still, and of use to a person."""

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import msgspec

from controlplane.model.problem import Level, ObjectRef, Origin, Problem
from controlplane.status.conditions import Truth, conditions, status, transitions
from controlplane.status.parts import Progress, Union

AT = datetime(2026, 8, 1, tzinfo=UTC)
LATER = AT + timedelta(hours=1)
RULE = ObjectRef("networking.istio.io", "VirtualService", "shop", "bill")
DONE = Union(Progress(14, 0))


def problem(code: str, level: Level = Level.ERROR, path: str = "spec.http[0]", text: str = "do this") -> Problem:
    return Problem(code, level, Origin(RULE, path), text)


def of(*problems: Problem, union: Union | None = DONE) -> dict[str, tuple[str, str, str]]:
    return {each.type: (each.status.value, each.reason, each.message) for each in conditions(problems, union)}


def written(*problems: Problem, union: Union = DONE, before: Any = None, generation: int = 1, at: datetime = AT) -> Any:
    return status(before, conditions(problems, union), generation, at)


def condition(document: Any, name: str) -> Any:
    return next(each for each in document["conditions"] if each["type"] == name)


def test_all_is_well() -> None:
    assert {name: truth for name, (truth, _, _) in of().items()} == {
        "Accepted": "True",
        "ResolvedRefs": "True",
        "Programmed": "True",
    }
    assert of()["Programmed"][2] == "14 of 14 proxies run it"


def test_each_problem_shows_where_its_author_looks_for_it() -> None:
    assert of(problem("InvalidRegex"))["Accepted"] == ("False", "InvalidRegex", "spec.http[0]: do this")
    assert of(problem("NoEffect", Level.WARNING))["Accepted"][:2] == ("True", "AcceptedWithWarnings")
    missing = of(problem("ReferencedResourceNotFound"))
    assert missing["ResolvedRefs"][:2] == ("False", "ReferencedResourceNotFound")
    assert missing["Accepted"][0] == "True"
    refused = of(problem("RefusedByProxy", path=""), union=Union(Progress(14, 1, ("web-1.shop",))))
    assert refused["Programmed"] == ("False", "RefusedByProxy", "do this")
    conflict = of(problem("Conflicted", text="VirtualService shop/older keeps it"))
    assert conflict["Conflicted"][0] == "True"
    assert "shop/older" in conflict["Conflicted"][2]
    assert conflict["Accepted"][:2] == ("False", "Conflicted")


def test_counts() -> None:
    some = of(union=Union(Progress(14, 2, ("a.shop", "b.shop"))))["Programmed"]
    assert some == ("False", "Pending", "12 of 14 proxies run it; not yet: a.shop, b.shop")
    unknown = of(union=Union(Progress(14, 0), ("lateend-2",)))["Programmed"]
    assert unknown[:2] == ("Unknown", "ReplicaMissing")
    assert "lateend-2" in unknown[2]
    assert of(union=Union())["Programmed"][:2] == ("Unknown", "NoProxies")
    assert "Programmed" not in of(union=None), "nobody is counted"
    assert of(problem("RefusedByProxy"), union=None)["Programmed"][0] == "False"


def test_the_same_facts_are_the_same_bytes_in_any_order() -> None:
    facts = (problem("A"), problem("B", Level.WARNING), problem("RefusedByProxy"), problem("Conflicted"))
    assert len({msgspec.json.encode(written(*order)) for order in permutations(facts)}) == 1


def test_what_stands_there_already_is_not_written() -> None:
    first = written(problem("A"))
    assert written(problem("A"), before=first, at=LATER) is None
    assert first["observedGeneration"] == 1


def test_a_transition_has_the_time_at_which_the_truth_changed_and_no_other() -> None:
    first = written(problem("A"))
    second = written(problem("B"), before=first, at=LATER)
    assert condition(second, "Accepted")["reason"] == "B"
    assert condition(second, "Accepted")["lastTransitionTime"] == "2026-08-01T00:00:00Z"
    third = written(before=second, at=LATER)
    assert condition(third, "Accepted")["lastTransitionTime"] == "2026-08-01T01:00:00Z"


def test_proxies_that_come_and_go_are_no_news_of_an_object() -> None:
    first = written()
    for union in (Union(Progress(20, 0)), Union(), Union(Progress(1, 0), ("lateend-2",))):
        assert written(union=union, before=first, at=LATER) is None
    assert written(union=Union(), before=first, generation=2, at=LATER) is not None
    assert condition(written(union=Union(Progress(20, 3)), before=first), "Programmed")["status"] == "False"


def test_what_others_wrote_stays() -> None:
    theirs = {"type": "Theirs", "status": "True"}
    found = written(before={"conditions": [theirs, {"type": "Accepted", "status": 3}, "x"], "their": {"field": 1}})
    assert theirs in found["conditions"]
    assert found["their"] == {"field": 1}
    assert condition(found, "Accepted")["status"] == "True"
    several: tuple[Any, ...] = ("x", 3, {"a": 1}, None, [[]])
    for nonsense in several:
        assert written(before={"conditions": nonsense}) is not None


def test_a_conflict_that_is_over_is_gone() -> None:
    first = written(problem("Conflicted"))
    assert "Conflicted" not in {each["type"] for each in written(before=first)["conditions"]}


def test_messages_are_bounded() -> None:
    many = [problem("A", path=f"spec.http[{number}]", text="x" * 5_000) for number in range(500)]
    assert all(len(each.message) <= 2_000 for each in conditions(many, DONE))


def test_events_tell_what_went_wrong_and_what_is_well_again_and_nothing_else() -> None:
    well, wrong = written(), written(problem("A"))
    pending = written(union=Union(Progress(2, 1)))
    assert transitions(None, well) == []
    assert [(each.type, each.status) for each in transitions(None, wrong)] == [("Accepted", Truth.FALSE)]
    assert transitions(wrong, wrong) == []
    assert [(each.type, each.status) for each in transitions(wrong, well)] == [("Accepted", Truth.TRUE)]
    assert transitions(well, pending) == transitions(pending, well) == []
    refused = written(problem("RefusedByProxy"))
    for before in (well, pending):
        assert [each.reason for each in transitions(before, refused)] == ["RefusedByProxy"]
    assert [each.reason for each in transitions(refused, well)] == ["Programmed"]
