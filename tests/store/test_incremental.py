"""Incremental equals from scratch, after any sequence of changes, in the store and in its forks.

The mesh of `mesh.py` is changed at random. After every step all collections, index entries and failures must be
those that `naive.py` computes whole; the revision must report exactly the difference; and every run in the log
must have had a reason.
"""

from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from controlplane.store import Change, Input, Revision, StaleForkError, Store
from controlplane.store.audit import recompute
from tests.store import naive
from tests.store.mesh import KEYS, NAMESPACES, Key, Mesh, changes
from tests.store.state import drain, everything, reads, structure, visible

DATA = st.data()


class Tracked:
    """A store, what its inputs are, and what should follow from them."""

    def __init__(self, mesh: Mesh, store: Store, inputs: dict[str, dict[Any, Any]], state: naive.State) -> None:
        self.mesh = mesh
        self.store = store
        self.inputs = inputs
        self.state = state
        self.runs: list[tuple[str, Any]] = []
        store.trace = self.runs

    def fork(self) -> "Tracked":
        inputs = {name: dict(values) for name, values in self.inputs.items()}
        return Tracked(self.mesh, self.store.fork(), inputs, self.state)

    def take(self, change_list: Iterable[Change[Any, Any]]) -> None:
        """Notes changes, in the model alone."""
        for change in change_list:
            values = self.inputs.setdefault(change.collection.name, {})
            if change.value is None:
                values.pop(change.key, None)
            else:
                values[change.key] = change.value

    def apply(self, change_list: list[Change[Any, Any]]) -> None:
        self.runs.clear()
        reads_before = reads(self.store)
        before = self.state
        revision = self.store.apply(change_list)
        self.take(change_list)
        self.state = naive.compute(self.mesh.store._graph, self.inputs, before)
        self.check(before, revision)
        assert len(self.runs) == len(set(self.runs)), "a node ran twice in one apply"
        self._check_reasons(before, reads_before)

    def check(self, before: naive.State, revision: Revision) -> None:
        assert visible(self.store) == (self.state.data, self.state.entries)
        assert {(handle.name, key) for handle, key in self.store.failures} == self.state.failures
        assert {(handle.name, key): found for handle, key, found in self.store.reports()} == self.state.reports
        noted = {(handle.name, key): found for (handle, key), found in revision.reports.items()}
        assert {node: found for node, found in noted.items() if found != before.reports.get(node, ())} == {
            node: self.state.reports.get(node, ())
            for node in before.reports.keys() | self.state.reports.keys()
            if before.reports.get(node) != self.state.reports.get(node)
        }
        structure(self.store)
        outputs = {self.store._graph[slot].name for slot in self.store._outputs}
        reported = {handle.name: dict(changed) for handle, changed in revision.changes.items()}
        assert reported == _difference(before, self.state, outputs)

    def _check_reasons(self, before: naive.State, reads_before: dict[tuple[str, Any], Any]) -> None:
        """Every run was of a node that is new, or had something change under it.

        What a query had become before its last reader went, nobody can tell any more: that passes for a reason.
        """
        gone = reads_before.keys() - reads(self.store).keys()
        for node in self.runs:
            asked = reads_before.get(node)
            assert asked is None or any(
                question[1:] in gone or _answer(before, question) != _answer(self.state, question) for question in asked
            ), f"{node} ran for no reason"


def _difference(before: naive.State, after: naive.State, names: Iterable[str]) -> dict[str, dict[Any, Any]]:
    found: dict[str, dict[Any, Any]] = {}
    for name in names:
        old, new = before.data.get(name, {}), after.data[name]
        changed = {key: (old.get(key), new.get(key)) for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
        if changed:
            found[name] = changed
    return found


def _answer(state: naive.State, question: tuple[str, str, Any]) -> Any:
    how, name, key = question
    if how == "members":
        return state.entries.get(name, {}).get(key)
    value = state.data.get(name, {}).get(key)
    return value is None if how == "presence" else value


class IncrementalEqualsFromScratch(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.mesh = Mesh(Store())
        self.main = Tracked(self.mesh, self.mesh.store, {}, naive.EMPTY)
        self.main.apply([])
        self.forks: list[Tracked] = []

    @rule(data=DATA, size=st.sampled_from([1, 1, 1, 2, 12]))
    def change(self, data: st.DataObject, size: int) -> None:
        self.main.apply(data.draw(st.lists(changes(self.mesh), min_size=size, max_size=size)))

    @rule(namespace=NAMESPACES)
    def delete_namespace(self, namespace: str) -> None:
        gone: list[Change[Any, Any]] = [Change(self.mesh.namespaces, namespace, None)]
        handles: tuple[Input[Key, Any], ...] = (self.mesh.services, self.mesh.rules, self.mesh.proxies)
        for handle in handles:
            gone.extend(Change(handle, key, None) for key, _ in self.main.store.items(handle) if key[0] == namespace)
        self.main.apply(gone)

    @rule(old=KEYS, new=KEYS)
    def rename_rule(self, old: Any, new: Any) -> None:
        value = self.main.store.get(self.mesh.rules, old)
        self.main.apply([Change(self.mesh.rules, old, None), Change(self.mesh.rules, new, value)])

    @rule(number=st.integers(0, 9))
    def unrelated_change_runs_nothing(self, number: int) -> None:
        self.main.apply([Change(self.mesh.unread, "key", number)])
        assert self.main.runs == []

    @rule()
    def equal_change_runs_nothing(self) -> None:
        number = self.main.store.revision
        handles: tuple[Input[Any, Any], ...] = (self.mesh.services, self.mesh.rules, self.mesh.endpoints)
        store = self.main.store
        self.main.apply([Change(handle, key, value) for handle in handles for key, value in store.items(handle)])
        assert self.main.runs == []
        assert self.main.store.revision == number

    @rule()
    def recomputation_and_audit_find_nothing(self) -> None:
        engine = self.main.store._serving()
        assert recompute(engine) == ()
        assert drain(self.main.store.audit(lambda: True)) == ()

    @precondition(lambda self: len(self.forks) < 3)
    @rule(data=DATA)
    def fork(self, data: st.DataObject) -> None:
        parent = data.draw(st.sampled_from([self.main, *self.forks]))
        if all(fork.store._parent is not parent.store for fork in self.forks):  # type: ignore[attr-defined]
            self.forks.append(parent.fork())

    @precondition(lambda self: self.forks)
    @rule(data=DATA, size=st.sampled_from([1, 3, 12]))
    def change_fork(self, data: st.DataObject, size: int) -> None:
        """Forks of what changes here are stale from now on."""
        fork = data.draw(st.sampled_from(self.forks))
        others = [self.main, *(other for other in self.forks if other is not fork)]
        dumps = [everything(other.store) for other in others if not _is_under(other, fork)]
        fork.apply(data.draw(st.lists(changes(self.mesh), min_size=size, max_size=size)))
        self._drop_stale()
        assert dumps == [everything(other.store) for other in others if not _is_under(other, fork)]

    @invariant()
    def stale_forks_say_so(self) -> None:
        if hasattr(self, "forks"):
            self._drop_stale()

    def _drop_stale(self) -> None:
        fresh = []
        for fork in self.forks:
            try:
                fork.store.failures  # noqa: B018  looking is enough
            except StaleForkError:
                continue
            fresh.append(fork)
        self.forks = fresh


def _is_under(candidate: Tracked, parent: Tracked) -> bool:
    """Whether `candidate` is a fork of `parent`, or of a fork of it."""
    store: Any = candidate.store
    while store := getattr(store, "_parent", None):
        if store is parent.store:
            return True
    return False


class ChangesBetweenSteps(RuleBasedStateMachine):
    """Big changes in steps with small ones between. No failing functions: which value was good last may differ."""

    @initialize()
    def start(self) -> None:
        self.mesh = Mesh(Store())
        self.main = Tracked(self.mesh, self.mesh.store, {}, naive.EMPTY)
        self.main.apply([])
        self.steps: Any = None
        self.promised: list[Change[Any, Any]] = []

    @rule(data=DATA, size=st.sampled_from([1, 3]))
    def change(self, data: st.DataObject, size: int) -> None:
        small = data.draw(st.lists(changes(self.mesh, booms=False), min_size=size, max_size=size))
        self.promised.extend(small)
        self.main.apply(small)

    @precondition(lambda self: self.steps is None)
    @rule(data=DATA, size=st.sampled_from([5, 20, 40]))
    def begin(self, data: st.DataObject, size: int) -> None:
        big = data.draw(st.lists(changes(self.mesh, booms=False), min_size=size, max_size=size))
        self.promised = list(big)
        self.steps = self.main.store.apply_steps(big, lambda: True)
        self._advance()

    @precondition(lambda self: self.steps is not None)
    @rule(count=st.sampled_from([1, 5, 20, 200]))
    def advance(self, count: int) -> None:
        for _ in range(count):
            if self.steps is not None:
                self._advance()

    @precondition(lambda self: self.steps is not None)
    @rule()
    def give_up(self) -> None:
        self.steps.close()
        self.steps = None

    @precondition(lambda self: self.steps is None)
    @rule()
    def settle(self) -> None:
        for _ in self.main.store.settle(lambda: True):
            self._nothing_seen()
        assert self.main.store._top is self.main.store._base

    def _advance(self) -> None:
        before = self.main.state
        try:
            next(self.steps)
        except StopIteration as end:
            self.steps = None
            self.main.take(self.promised)
            self.main.state = naive.compute(self.mesh.store._graph, self.main.inputs)
            self.main.check(before, end.value)
        else:
            self._nothing_seen()

    def _nothing_seen(self) -> None:
        assert visible(self.main.store) == (self.main.state.data, self.main.state.entries)

    @precondition(lambda self: self.steps is None)
    @rule(data=DATA)
    def fork(self, data: st.DataObject) -> None:
        """Over a store that has not settled, too."""
        before = everything(self.main.store)
        fork = self.main.fork()
        fork.apply(data.draw(st.lists(changes(self.mesh, booms=False), min_size=1, max_size=3)))
        assert everything(self.main.store) == before


def test_incremental_equals_from_scratch(size: Callable[[int, int], int]) -> None:
    cases = size(30, 1000)
    run_state_machine_as_test(
        IncrementalEqualsFromScratch, settings=settings(max_examples=cases, stateful_step_count=25, deadline=None)
    )


def test_changes_between_steps(size: Callable[[int, int], int]) -> None:
    cases = size(30, 1000)
    run_state_machine_as_test(
        ChangesBetweenSteps, settings=settings(max_examples=cases, stateful_step_count=30, deadline=None)
    )
