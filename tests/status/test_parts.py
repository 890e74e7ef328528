"""Parts of several replicas, added up; a part that is missing is never taken for nothing, nor an old one for a new."""

from typing import Any

import msgspec
import pytest

from controlplane.model.decode import decode
from controlplane.model.problem import Level, ObjectRef, Origin, Problem
from controlplane.status.parts import MOST_ASKED, Content, Part, Parts, Progress, Report, Union, content_of
from controlplane.status.peers import Question

RULE = ObjectRef("networking.istio.io", "VirtualService", "shop", "bill")
OTHER = ObjectRef("networking.istio.io", "VirtualService", "shop", "other")
OLD, NEW = Content("u/1", "old"), Content("u/2", "new")
BOTH = ("one", "two")


def said(content: Content, concerned: int = 0, waiting: int = 0, *behind: str, ref: ObjectRef = RULE) -> Report:
    return Report((Part(ref, content, Progress(concerned, waiting, behind)),))


def known(*names: str) -> Parts:
    """These have answered once."""
    parts = Parts(patience=3.0, interest=5.0)
    parts.know(names, 0.0)
    for name in names:
        parts.heard(name, Report(), 0.0)
    return parts


def test_parts_add_up() -> None:
    parts = known(*BOTH)
    assert parts.of(RULE, NEW, 0.0) is None, "nobody was asked"
    assert parts.questions(0.5) == {"one": (RULE,), "two": (RULE,)}
    parts.heard("one", said(NEW, 3), 0.5)
    assert parts.of(RULE, NEW, 0.5) is None
    parts.heard("two", said(NEW, 4), 0.6)
    assert parts.of(RULE, NEW, 0.6) == Union(Progress(7))
    parts.know(("two",), 0.7)
    assert parts.of(RULE, NEW, 0.7) == Union(Progress(4)), "a replica that is gone has no proxies"
    assert Parts().of(RULE, NEW, 0.0) == Union(), "nor have others that are not there"


def test_what_is_said_of_an_earlier_content_does_not_count() -> None:
    parts = known("one")
    assert parts.of(RULE, OLD, 0.0) is None
    parts.heard("one", said(OLD, 3), 0.5)
    assert parts.of(RULE, OLD, 0.5) == Union(Progress(3))
    assert parts.of(RULE, NEW, 1.0) is None
    assert parts.questions(1.0) == {"one": (RULE,)}
    assert parts.heard("one", said(OLD, 3), 1.5) == set()
    assert parts.of(RULE, NEW, 1.5) is None
    for at in (2.5, 3.5):
        parts.heard("one", said(OLD, 3), at)
    assert parts.of(RULE, NEW, 4.0) == Union(missing=("one",)), "it answers, but it does not get there"
    assert parts.heard("one", said(NEW, 3), 4.5) == {RULE}
    assert parts.of(RULE, NEW, 4.5) == Union(Progress(3))


def test_who_does_not_answer_is_missing_after_a_while() -> None:
    parts = known(*BOTH)
    assert parts.of(RULE, NEW, 0.0) is None
    for at in (1.0, 3.0):
        parts.heard("one", said(NEW, 3), at)
    assert parts.of(RULE, NEW, 2.9) is None
    assert parts.missing(3.0) == ()
    assert parts.of(RULE, NEW, 3.1) == Union(Progress(3), ("two",))
    assert parts.missing(3.1) == ("two",)
    assert parts.questions(3.1)["two"] == (), "who is silent is only asked whether it is there"
    parts.heard("two", Report(), 3.2)
    assert parts.missing(3.2) == ()
    assert parts.questions(3.2)["two"] == (RULE,)


def test_one_that_has_just_come_is_waited_for() -> None:
    parts = known("one")
    parts.know(BOTH, 10.0)
    parts.heard("one", Report(), 11.0)
    assert parts.missing(12.9) == ()
    assert parts.of(RULE, NEW, 12.9) is None
    parts.heard("one", said(NEW), 12.9)
    assert parts.missing(13.0) == ("two",)


def test_who_waits_is_asked_again_and_the_way_there_is_not_told_step_by_step() -> None:
    parts = known("one")
    assert parts.of(RULE, NEW, 0.0) is None
    assert parts.heard("one", said(NEW, 5, 5, "a.shop"), 0.5) == {RULE}
    assert parts.of(RULE, NEW, 0.5) is None, "changes take a moment"
    assert parts.questions(1.0) == {"one": (RULE,)}
    assert parts.heard("one", said(NEW, 5, 2, "a.shop"), 2.0) == set()
    assert parts.of(RULE, NEW, 3.5) == Union(Progress(5, 2, ("a.shop",)))
    assert parts.questions(30.0) == {"one": ()}, "it was silent"
    parts.heard("one", said(NEW, 5, 2, "a.shop"), 30.0)
    assert parts.questions(30.0) == {"one": (RULE,)}, "for as long as somebody waits"
    assert parts.heard("one", said(NEW, 5), 31.0) == {RULE}
    assert parts.questions(31.0) == {"one": ()}


def test_nobody_waits_for_who_is_gone() -> None:
    parts = known(*BOTH)
    assert parts.of(RULE, NEW, 0.0) is None
    parts.heard("one", said(NEW, 5), 2.0)
    parts.heard("two", said(NEW, 5, 2, "a.shop"), 2.0)
    assert parts.of(RULE, NEW, 3.5) == Union(Progress(10, 2, ("a.shop",)))
    assert parts.know(("one",), 4.0) == {RULE}
    assert parts.of(RULE, NEW, 4.0) == Union(Progress(5))
    assert parts.know((), 5.0) == set()


def test_interest_ends() -> None:
    parts = known("one")
    assert parts.of(RULE, NEW, 0.0) is None
    for at in (2.0, 4.0, 6.0):
        parts.heard("one", said(NEW, 1), at)
    assert parts.of(RULE, NEW, 1.0) == Union(Progress(1))
    assert parts.questions(6.5) == {"one": ()}
    assert parts.of(RULE, NEW, 6.6) is None, "it may be other by now"


def test_what_concerned_nobody_is_asked_for_again_when_told_to() -> None:
    parts = known("one")
    assert parts.of(RULE, NEW, 0.0) is None
    parts.heard("one", said(NEW), 0.5)
    assert parts.questions(1.0) == {"one": ()}
    parts.recount(RULE, NEW, 1.0)
    assert parts.questions(1.0) == {"one": (RULE,)}
    assert parts.heard("one", said(NEW), 1.5) == set()
    parts.recount(RULE, NEW, 2.0)
    assert parts.heard("one", said(NEW, 2), 2.5) == {RULE}


def test_a_question_is_bounded_and_all_have_their_turn() -> None:
    parts = known("one")
    refs = {ObjectRef("networking.istio.io", "DestinationRule", "n" * 63, f"{number:0253}") for number in range(400)}
    for ref in refs:
        parts.of(ref, NEW, 0.0)
    asked: set[ObjectRef] = set()
    for _ in range(3):
        (question,) = parts.questions(1.0).values()
        assert len(question) <= MOST_ASKED
        assert len(msgspec.json.encode(Question(question))) < 64 * 1024
        asked.update(question)
        parts.heard("one", Report(tuple(Part(ref, NEW, Progress(9, 9)) for ref in question)), 1.0)
    assert asked == refs


def test_refusals_of_all_are_known_until_the_replica_is_gone() -> None:
    parts = known(*BOTH)
    refused = Problem("RefusedByProxy", Level.ERROR, Origin(RULE), "no")
    before = parts.news
    parts.heard("one", Report((), (refused,)), 1.0)
    assert (list(parts.refusals()), parts.news > before) == ([refused], True)
    before = parts.news
    parts.heard("one", Report((), (refused,)), 2.0)
    assert parts.news == before, "nothing new"
    parts.know(("two",), 3.0)
    assert (list(parts.refusals()), parts.news > before) == ([], True)
    parts.forget()
    assert parts.heard("two", said(NEW, 1), 4.0) == set(), "of nobody whom we know"


def test_named_proxies_are_few() -> None:
    one, two = (Progress(9, 9, tuple(f"{where}{number}" for number in range(5))) for where in "ba")
    assert (one + two).behind == ("a0", "a1", "a2", "a3", "a4")


def virtual_service(**more: Any) -> Any:
    return decode(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": "bill", "namespace": "shop", "uid": "u", "generation": 1} | more.pop("metadata", {}),
            "spec": {"hosts": ["bill"], "http": [{"route": [{"destination": {"host": "bill"}}]}]} | more,
        }
    ).value


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        ({"metadata": {"generation": 2, "resourceVersion": "77"}}, True),  # applied again, and nothing else
        ({"hosts": ["cart"]}, True),  # read by another version of us: the API server says that it is the same
        ({"metadata": {"generation": 2}, "hosts": ["cart"]}, False),
        ({"metadata": {"uid": "v"}, "hosts": ["cart"]}, False),  # made anew
    ],
)
def test_one_content_is_known_by_its_generation_or_by_what_it_says(other: dict[str, Any], *, is_same: bool) -> None:
    assert content_of(virtual_service()).is_same(content_of(virtual_service(**other))) is is_same


def test_objects_without_an_api_server_are_known_by_what_they_say() -> None:
    one, two = (content_of(virtual_service(metadata={"uid": ""}, hosts=[host])) for host in ("a", "b"))
    assert not one.is_same(two)
