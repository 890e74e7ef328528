"""Events that never came are found, and nothing else is taken for one."""

import json
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from controlplane.sources.kubernetes.audit import Audit
from controlplane.sources.kubernetes.reflector import List, Pace, Watch
from controlplane.sources.kubernetes.wire import read_page
from tests.sources.kubernetes.cluster import EXPIRED, SERVICES, Cluster
from tests.sources.kubernetes.driving import Driver

NAMES = "abcdef"


def listed() -> Driver:
    cluster = Cluster()
    for name in NAMES:
        cluster.put(SERVICES, name, spec={"clusterIP": "10.0.0.1"})
    driver = Driver(cluster, SERVICES, Pace())
    driver.turn()
    return driver


def look(driver: Driver, audit: Audit, limit: int = 0) -> None:
    token = ""
    while True:
        page = driver.cluster.page(SERVICES, limit, token)
        for item in page["items"]:
            item.pop("spec", None)
        for _ in audit.page(read_page(json.dumps(page).encode())):
            pass
        token = page["metadata"].get("continue", "")
        if not token:
            return


def watch_without(driver: Driver, number: int) -> None:
    """One event is lost on the way."""
    step = driver.next()
    assert isinstance(step, Watch)
    events = driver.cluster.since(SERVICES, step.version)
    del events[number]
    assert driver.events([*events, driver.cluster.bookmark(SERVICES)])


def lost(driver: Driver, audit: Audit) -> set[str] | None:
    found = audit.lost()
    return None if found is None else {ref.name for ref in found}


def all_three(driver: Driver) -> None:
    driver.cluster.put(SERVICES, "a", spec={"clusterIP": "10.0.0.2"})
    driver.cluster.put(SERVICES, "new", spec={"clusterIP": "10.0.0.3"})
    driver.cluster.delete(SERVICES, "b")


def test_what_was_lost_before_is_found_at_once() -> None:
    for number, name in enumerate(["a", "new", "b"]):
        driver = listed()
        all_three(driver)
        watch_without(driver, number)
        audit = Audit(driver.reflector)
        look(driver, audit, limit=2)
        assert lost(driver, audit) == {name}
        driver.reflector.repair()
        assert isinstance(driver.turn(), List)
        assert driver.applied == driver.expected()
        assert driver.reflector.repairs == 1


def test_what_is_lost_while_it_looks_is_found_when_the_watch_is_there() -> None:
    for number, name in enumerate(["a", "new", "b"]):
        driver = listed()
        audit = Audit(driver.reflector)
        all_three(driver)
        look(driver, audit)
        assert lost(driver, audit) is None, "the watch may yet tell of it"
        watch_without(driver, number)
        assert lost(driver, audit) == {name}


def test_what_is_only_late_is_not_lost() -> None:
    driver = listed()
    audit = Audit(driver.reflector)
    all_three(driver)
    look(driver, audit, limit=2)
    assert lost(driver, audit) is None
    driver.turn()
    assert lost(driver, audit) == set()


def test_a_list_meanwhile_makes_it_idle() -> None:
    driver = listed()
    all_three(driver)
    watch_without(driver, 0)
    audit = Audit(driver.reflector)
    look(driver, audit)
    driver.next()
    driver.refuse(410, EXPIRED)
    driver.turn()
    assert lost(driver, audit) == set()


def test_a_repair_ends_the_watch_that_goes_on() -> None:
    driver = listed()
    driver.next()
    driver.reflector.repair()
    driver.cluster.put(SERVICES, "new", spec={"clusterIP": "10.0.0.3"})
    assert not driver.events(driver.cluster.since(SERVICES, "106"))
    assert isinstance(driver.turn(), List)
    assert driver.applied == driver.expected()


ACTS: dict[str, Callable[[Driver, str, int], object]] = {
    "put": lambda driver, name, number: driver.cluster.put(SERVICES, name, spec={"clusterIP": f"10.1.0.{number}"}),
    "delete": lambda driver, name, _: (
        driver.cluster.delete(SERVICES, name) if ("default", name) in driver.cluster.objects[SERVICES] else None
    ),
    "watch": lambda driver, _name, _number: driver.turn(),
}


@given(st.lists(st.tuples(st.sampled_from(sorted(ACTS)), st.sampled_from(NAMES + "xyz")), max_size=30), st.data())
def test_a_good_watch_is_never_accused(acts: list[tuple[str, str]], data: st.DataObject) -> None:
    driver = listed()
    audit = Audit(driver.reflector)
    at = data.draw(st.integers(0, len(acts)))
    for number, (act, name) in enumerate([*acts, ("watch", "a")]):
        if number == at:
            look(driver, audit, limit=2)
        ACTS[act](driver, name, number + 1)
    driver.turns(2)
    assert lost(driver, audit) == set()
