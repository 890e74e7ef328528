"""The list+watch protocol, trace by trace: what the API server says in, what is asked next out."""

import json

import pytest

from controlplane.sources.kubernetes.reflector import List, Pace, State, Wait, Watch
from controlplane.sources.kubernetes.wire import read_event, read_page
from tests.sources.kubernetes.cluster import EXPIRED, ROUTES, RULES, SERVICES, Cluster, status
from tests.sources.kubernetes.driving import Driver


def services(*names: str) -> Cluster:
    cluster = Cluster()
    for name in names:
        cluster.put(SERVICES, name)
    return cluster


def listed(*names: str, pace: Pace | None = None) -> Driver:
    driver = Driver(services(*names), SERVICES, pace)
    driver.turn()
    assert driver.names() == set(names)
    return driver


def codes(driver: Driver) -> set[str]:
    return {problem.code for problem in (*driver.reflector.problems(), *driver.mirror.problems())}


def test_a_list_and_then_watches_from_its_version() -> None:
    driver = listed("a", "b")
    assert driver.asked == [List(500, "")]
    assert driver.is_synced()
    assert driver.turn() == Watch("102", 22.5)
    driver.cluster.put(SERVICES, "c")
    assert driver.turn() == Watch("102", 22.5)
    assert driver.names() == {"a", "b", "c"}
    assert driver.turn() == Watch("103", 22.5)
    assert driver.reflector.lists == 1


def test_pages_are_asked_for_one_by_one_and_are_synced_as_a_whole() -> None:
    driver = Driver(services(*"abcde"), SERVICES, Pace(page=2))
    driver.turn()
    assert not driver.is_synced()
    driver.turns(2)
    assert [step.limit for step in driver.asked if isinstance(step, List)] == [2, 2, 2]
    assert driver.is_synced()
    assert driver.reflector.lists == 1
    assert driver.names() == set("abcde")


def test_what_changes_while_pages_are_read_is_found_by_the_watch() -> None:
    driver = Driver(services(*"abcd"), SERVICES, Pace(page=2))
    driver.turn()
    driver.cluster.delete(SERVICES, "a")
    driver.cluster.put(SERVICES, "d", spec={"clusterIP": "10.0.0.9"})
    driver.cluster.put(SERVICES, "e")
    driver.turns(2)
    assert driver.applied == driver.expected()


def test_bookmarks_keep_the_version_fresh_without_any_change() -> None:
    driver = listed("a")
    for other in range(50):
        driver.cluster.put(RULES, f"other-{other}")
    driver.turn()
    driver.cluster.compact()
    driver.turns(3)
    assert driver.reflector.lists == 1, "without bookmarks this would have been a 410"


def test_compaction_is_one_more_list_that_tells_only_differences() -> None:
    driver = listed(*"abcdefgh")
    driver.cluster.delete(SERVICES, "a")
    driver.cluster.put(SERVICES, "b", spec={"clusterIP": "10.0.0.9"})
    driver.cluster.put(SERVICES, "z")
    driver.cluster.compact()
    before = dict(driver.applied)
    driver.turns(2)
    assert driver.applied == driver.expected()
    assert [ref.name for ref in driver.removed] == ["a"]
    same = [ref for ref, value in driver.applied.items() if before.get(ref) is value]
    assert len(same) == 6, "what did not change is the same value, and was not told again"


def test_a_410_of_the_request_is_as_good_as_one_in_the_stream() -> None:
    driver = listed("a")
    driver.next()
    driver.refuse(410, EXPIRED)
    assert isinstance(driver.next(), List)
    driver.next()
    driver.refuse(504, status(504, "Timeout", "", causes=[{"reason": "ResourceVersionTooLarge"}]))
    assert isinstance(driver.next(), List)


def test_lists_of_a_kind_are_ten_seconds_apart_but_for_one() -> None:
    driver = listed("a")
    began = [driver.clock.seconds]
    for _ in range(5):
        driver.next()
        driver.refuse(410, EXPIRED)
        assert isinstance(driver.next(), List)
        began.append(driver.clock.seconds)
        driver.list(driver.asked[-1])  # type: ignore[arg-type]
    assert began[1] == began[0], "what was forgotten since the list is read at once"
    assert all(later - earlier >= 20 for earlier, later in zip(began, began[2:], strict=False))


def test_a_list_slower_than_its_tokens_is_asked_for_in_one_part() -> None:
    driver = Driver(services(*"abcdef"), SERVICES, Pace(page=2))
    for _ in range(3):
        assert driver.turn() == List(2, "")
        assert isinstance(driver.next(), List)
        driver.refuse(410, EXPIRED)
    assert driver.turn() == List(0, "")
    assert driver.names() == set("abcdef")
    assert isinstance(driver.next(), Watch)


def test_a_page_that_is_too_large_is_asked_for_in_smaller_ones() -> None:
    driver = Driver(services("a"), SERVICES)
    asked = []
    for _ in range(5):
        step = driver.next()
        assert isinstance(step, List)
        asked.append(step.limit)
        driver.reflector.too_large()
    assert asked == [500, 62, 7, 1, 1]


def test_a_busy_api_server_says_when_to_come_back() -> None:
    driver = Driver(services("a"), SERVICES)
    driver.next()
    driver.refuse(429, status(429, "TooManyRequests", "later"), {"Retry-After": "20"})
    step = driver.reflector.next()
    assert isinstance(step, Wait)
    assert step.seconds == pytest.approx(22.0)  # a little later than told: not all at once
    driver.turn()
    assert driver.names() == {"a"}
    assert driver.state == State.WATCHING


def test_waits_grow_to_eight_seconds_and_start_over_when_all_is_well() -> None:
    driver = listed("a")
    waits = []
    for _ in range(8):
        driver.next()
        driver.reflector.failed("cut off")
        waits.append(driver.reflector._not_before - driver.clock.seconds)
    assert waits == [0.375, 0.75, 1.5, 3.0, 6.0, 6.0, 6.0, 6.0]  # with half of all randomness
    driver.turns(2)
    driver.next()
    driver.reflector.failed("cut off")
    assert driver.reflector._not_before - driver.clock.seconds == 0.375


def test_a_watch_that_is_cut_goes_on_where_it_was() -> None:
    driver = listed("a")
    driver.cluster.put(SERVICES, "b")
    driver.cluster.put(SERVICES, "c")
    step = driver.next()
    assert isinstance(step, Watch)
    driver.events(driver.cluster.since(SERVICES, step.version)[:1])
    driver.reflector.failed("cut off")
    assert driver.turn() == Watch("102", 22.5)
    assert driver.names() == {"a", "b", "c"}
    assert driver.reflector.lists == 1


def test_a_watch_that_fails_again_and_again_without_any_news_is_a_list() -> None:
    driver = listed("a")
    for _ in range(3):
        assert isinstance(driver.next(), Watch)
        driver.reflector.failed("no event of a watch")
    assert isinstance(driver.next(), List)


def test_nobody_answering_is_no_reason_to_list() -> None:
    driver = listed("a")
    for _ in range(100):
        assert isinstance(driver.next(), Watch)
        driver.reflector.unreached("connection refused")
    driver.turn()
    assert driver.reflector.lists == 1


def test_a_watch_that_ends_at_once_is_not_asked_for_at_once() -> None:
    driver = listed("a")
    began = []
    for _ in range(20):
        assert isinstance(driver.next(), Watch)
        began.append(driver.clock.seconds)
        driver.reflector.ended()
    assert began[-1] - began[0] > 60, "that is at most a request in three seconds"


def test_a_version_that_goes_back_is_another_history() -> None:
    driver = listed("a", "b")
    backup = driver.cluster.snapshot()
    driver.cluster.put(SERVICES, "c")
    driver.turn()
    driver.cluster.restore(backup)
    driver.next()
    assert not driver.events([driver.cluster.bookmark(SERVICES)])
    assert isinstance(driver.turn(), List)
    assert driver.applied == driver.expected()


def test_an_event_again_changes_nothing_and_an_older_one_is_not_believed() -> None:
    driver = listed("a")
    driver.cluster.put(SERVICES, "a", spec={"clusterIP": "10.0.0.1"})
    driver.cluster.put(SERVICES, "a", spec={"clusterIP": "10.0.0.2"})
    driver.next()
    older, newer = driver.cluster.since(SERVICES, "101")
    assert driver.events([older, newer, newer])
    assert not driver.events([older])
    (value,) = driver.applied.values()
    assert value.spec.cluster_ip == "10.0.0.2"
    driver.turn()
    assert driver.applied == driver.expected()


@pytest.mark.parametrize(
    "event",
    [
        {"type": "WHAT", "object": {"metadata": {"name": "a", "resourceVersion": "200"}}},
        {"type": "ADDED", "object": {"metadata": {"name": "a"}}},
        {"type": "ADDED", "object": {"metadata": {"resourceVersion": "200"}}},
        {"type": "BOOKMARK", "object": {"metadata": {}}},
        {"type": "ADDED", "object": []},
    ],
)
def test_an_event_nobody_can_read_is_not_passed_over(event: dict) -> None:
    driver = listed("a")
    driver.next()
    assert not driver.events([event])
    assert isinstance(driver.next(), List)


# What vanishes


def test_most_of_it_vanishing_is_believed_when_a_second_list_says_so() -> None:
    driver = listed(*"abcdefghij")
    for name in "abcdef":
        driver.cluster.delete(SERVICES, name)
    driver.cluster.put(SERVICES, "new")
    driver.cluster.compact()
    driver.turns(2)
    assert driver.names() == {*"abcdefghij", "new"}, "nothing is removed, and what is new is there"
    assert driver.state == State.HOLDING
    assert codes(driver) == {"RemovalsHeld"}
    held_since = driver.clock.seconds
    while driver.removed == []:
        driver.turn()
    assert driver.clock.seconds - held_since >= 60
    assert driver.applied == driver.expected()
    assert driver.state == State.WATCHING
    assert codes(driver) == set()


def test_an_empty_list_after_a_full_one_is_asked_for_again_however_little_there_was() -> None:
    driver = listed("a")
    driver.cluster.compact()
    driver.next()
    driver.refuse(410, EXPIRED)
    driver.next()
    driver.page({"kind": "ServiceList", "metadata": {"resourceVersion": "300"}, "items": []})
    assert driver.names() == {"a"}
    driver.cluster.revision = 400
    while driver.reflector.held:
        driver.turn()
    assert driver.names() == {"a"}
    assert driver.removed == []


def test_what_is_back_when_asked_again_was_never_gone() -> None:
    driver = listed(*"abcdef")
    driver.next()
    driver.refuse(410, EXPIRED)
    driver.next()
    driver.page({"kind": "ServiceList", "metadata": {"resourceVersion": "300"}, "items": []})
    driver.cluster.revision = 400
    driver.cluster.delete(SERVICES, "f")
    while driver.reflector.held:
        driver.turn()
    assert driver.names() == set("abcde")
    assert [ref.name for ref in driver.removed] == ["f"]


def test_only_what_both_lists_lack_is_removed() -> None:
    driver = listed(*"abcdefghij")

    def list_with(names: str, version: int) -> None:
        page = driver.cluster.page(SERVICES)
        page["metadata"]["resourceVersion"] = str(version)
        page["items"] = [item for item in page["items"] if item["metadata"]["name"] in names]
        driver.next()
        driver.page(page)

    driver.next()
    driver.refuse(410, EXPIRED)
    list_with("ghij", 300)
    driver.clock.seconds += 60
    list_with("ahij", 301)
    assert driver.names() == set("aghij"), "b to f were lacked twice, g once, a is back"
    assert driver.reflector.held == 1
    driver.clock.seconds += 60
    list_with("ahij", 302)
    assert driver.names() == set("ahij")


def test_what_is_deleted_while_watched_is_gone_at_once_all_of_it() -> None:
    driver = listed(*"abcdef")
    for name in "abcdef":
        driver.cluster.delete(SERVICES, name)
    driver.turn()
    assert driver.names() == set()


def test_objects_nobody_can_tell_apart_keep_all_others_from_being_removed() -> None:
    driver = listed(*"abcdefghij")
    driver.next()
    driver.refuse(410, EXPIRED)
    driver.next()
    page = driver.cluster.page(SERVICES)
    page["items"][0] = {"metadata": {"name": 5}}
    driver.page(page)
    assert driver.names() == set("abcdefghij")
    assert codes(driver) == {"UnreadableObject"}


DEEP = b'{"x":' * 3000 + b"1" + b"}" * 3000
GOOD = {"hosts": ["a"], "http": [{"route": [{"destination": {"host": "a"}}]}]}


def rules(*names: str) -> Driver:
    driver = Driver(Cluster(), RULES)
    driver.cluster.install(RULES)
    for name in names:
        driver.cluster.put(RULES, name, spec=GOOD)
    driver.turn()
    return driver


def test_an_object_that_cannot_be_decoded_keeps_its_last_good_version() -> None:
    driver = rules("kept", "other")
    before = dict(driver.applied)
    driver.next()
    event = b'{"type":"MODIFIED","object":{"metadata":{"name":"kept","namespace":"default",%s},"spec":%s}}'
    assert driver.reflector.event(read_event(event % (b'"resourceVersion":"500"', DEEP)))
    driver.cluster.revision = 500
    driver.cluster.put(RULES, "other", spec={**GOOD, "hosts": ["b"]})
    driver.turn()
    kept, other = (next(ref for ref in driver.applied if ref.name == name) for name in ("kept", "other"))
    assert driver.applied[kept] is before[kept]
    assert driver.applied[other] != before[other]
    assert [(found.code, found.origin.ref.name) for found in driver.mirror.problems()] == [("NestedTooDeep", "kept")]
    driver.cluster.put(RULES, "kept", spec=GOOD)
    driver.turn()
    assert codes(driver) == set()
    assert driver.applied == driver.expected()


def test_bad_parts_of_an_object_are_its_own() -> None:
    driver = rules("bad", "other")
    driver.cluster.put(RULES, "bad", spec={**GOOD, "http": "what"})
    driver.turn()
    assert {found.origin.ref.name for found in driver.mirror.problems()} == {"bad"}
    driver.cluster.delete(RULES, "bad")
    driver.turn()
    assert codes(driver) == set()


def test_an_object_nested_deeper_than_anything_hides_no_other() -> None:
    driver = Driver(Cluster(), RULES)
    items = (
        b'{"metadata":{"name":"deep","namespace":"n"},"spec":%s},{"metadata":{"name":"b","namespace":"n"},"spec":{}}'
    )
    driver.next()
    body = b'{"kind":"VirtualServiceList","metadata":{"resourceVersion":"9"},"items":[%s]}' % (items % DEEP)
    for _ in driver.reflector.page(read_page(body)):
        pass
    found = {(problem.code, problem.origin.ref.name) for problem in driver.mirror.problems()}
    assert ("NestedTooDeep", "deep") in found
    assert [ref.name for ref, _ in driver.mirror.values()] == ["b"]
    assert driver.is_synced()


# What is refused


def test_a_kind_that_may_not_be_read_is_said_and_asked_for_again_and_again() -> None:
    driver = listed("a")
    forbidden = status(403, "Forbidden", 'services is forbidden: User "x" cannot watch resource "services"')
    times = []
    for _ in range(40):
        driver.next()
        times.append(driver.clock.seconds)
        driver.refuse(403, forbidden)
        assert codes(driver) == {"AccessDenied"}
    assert 20 < times[-1] - times[-2] <= 30
    assert driver.names() == {"a"}
    driver.turns(2)
    assert codes(driver) == set()


def test_a_server_that_has_just_begun_knows_no_rights_yet_and_is_soon_asked_again_each_time() -> None:
    """It answers 403 until it has read its own rules. Watches went well in between, so no wait is left over."""
    driver = listed("a")
    for _ in range(10):
        driver.next()
        driver.refuse(403, status(403, "Forbidden", "no"))
        began = driver.clock.seconds
        driver.turn()
        assert driver.clock.seconds - began - 22.5 <= 1


def test_a_404_removes_nothing_while_discovery_says_that_the_kind_is_there() -> None:
    driver = listed("a", "b")
    for _ in range(20):
        driver.next()
        driver.refuse(404, {})
    assert driver.names() == {"a", "b"}
    assert not driver.reflector.gone
    assert codes(driver) == {"NotServed"}


def test_objects_of_a_kind_that_is_gone_go_after_a_minute() -> None:
    driver = Driver(Cluster(), ROUTES)
    driver.cluster.install(ROUTES)
    driver.cluster.put(ROUTES, "a")
    driver.turn()
    del driver.cluster.kinds[ROUTES.path]
    driver.reflector.served = False
    driver.turn()
    since = driver.clock.seconds
    assert driver.names() == {"a"}
    while not driver.reflector.gone:
        driver.turn()
    assert 60 <= driver.clock.seconds - since < 120
    assert driver.names() == set()


def test_a_kind_that_comes_back_within_the_minute_lost_nothing() -> None:
    driver = Driver(Cluster(), ROUTES)
    driver.cluster.install(ROUTES)
    driver.cluster.put(ROUTES, "a")
    driver.turn()
    del driver.cluster.kinds[ROUTES.path]
    driver.reflector.served = False
    driver.turns(2)
    driver.cluster.install(ROUTES)
    driver.reflector.served = True
    driver.turns(5)
    assert driver.names() == {"a"}
    assert driver.removed == []
    assert driver.state == State.WATCHING


def test_a_kind_the_server_cannot_convert_is_said_after_three_times() -> None:
    driver = listed("a")
    broken = status(500, "InternalError", "conversion webhook for X failed")
    for count in range(1, 5):
        driver.next()
        driver.refuse(500, broken)
        assert codes(driver) == ({"NotReadable"} if count >= 3 else set())
    assert driver.names() == {"a"}


def test_no_answer_is_waited_for_less_than_a_moment_twice() -> None:
    """Whatever happens, time passes between two questions about one kind: never a hot loop."""
    driver = listed("a")
    busy = json.loads(json.dumps(status(500, "InternalError", "")))
    for happens in (
        lambda: driver.reflector.failed("x"),
        lambda: driver.refuse(500, busy),
        lambda: driver.refuse(403, busy),
        lambda: driver.refuse(404, busy),
        lambda: driver.refuse(410, EXPIRED),
        driver.reflector.too_large,
        driver.reflector.ended,
    ):
        began = driver.clock.seconds
        for _ in range(30):
            while happens == driver.reflector.ended and isinstance(driver.reflector.next(), List):
                driver.turn()
            driver.next()
            happens()
        assert driver.clock.seconds - began > 30, happens
