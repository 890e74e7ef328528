"""A set of names kept relative to a universe is a set of names."""

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.xds.protocol.subscriptions import NameSet

names = st.integers(0, 120).map(lambda i: f"n{i}")
steps = st.lists(
    st.tuples(st.sampled_from(["add", "discard", "appear", "vanish", "compact", "many"]), names), max_size=80
)


@given(steps, st.sets(names, max_size=100))
@settings(max_examples=150, deadline=None)
def test_it_holds_what_a_plain_set_holds(steps, universe):
    kept, plain = NameSet(lambda name: name in universe), set[str]()
    for step, name in steps:
        if step == "add":
            kept.add(name)
            plain.add(name)
        elif step == "discard":
            kept.discard(name)
            plain.discard(name)
        elif step == "appear" and name not in universe:
            universe.add(name)
            kept.appeared(name)
        elif step == "vanish" and name in universe:
            universe.discard(name)
            kept.vanished(name)
        elif step == "many":
            kept.update(f"n{i}" for i in range(110))
            plain.update(f"n{i}" for i in range(110))
        elif step == "compact":
            kept.compact(lambda: universe, len(universe))
        assert {f"n{i}" for i in range(121) if f"n{i}" in kept} == plain
        assert kept.explicit(universe) == plain
        assert bool(kept) or not plain


def test_everything_is_kept_as_nothing_but_exceptions():
    universe = {f"n{i}" for i in range(5000)}
    kept = NameSet(lambda name: name in universe)
    kept.update(universe)
    kept.compact(lambda: universe, len(universe))
    assert kept.complete
    assert kept.extent == 0
    kept.discard("n7")
    assert kept.extent == 1
    assert not kept.complete
