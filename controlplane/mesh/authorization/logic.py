"""And, or, not; as small as they can be said."""

from collections.abc import Iterable

from controlplane.ir.authorization import ALWAYS, NEVER, AllOf, AnyOf, Condition, Not


def all_of(conditions: Iterable[Condition]) -> Condition:
    """Every one of them."""
    found = tuple(one for one in conditions if one != ALWAYS)
    if NEVER in found:
        return NEVER
    return found[0] if len(found) == 1 else AllOf(found)


def any_of(conditions: Iterable[Condition]) -> Condition:
    """At least one of them."""
    found = tuple(one for one in conditions if one != NEVER)
    if ALWAYS in found:
        return ALWAYS
    return found[0] if len(found) == 1 else AnyOf(found)


def none_of(conditions: Iterable[Condition]) -> Condition:
    """Not one of them."""
    found = any_of(conditions)
    if found == NEVER:
        return ALWAYS
    return NEVER if found == ALWAYS else Not(found)
