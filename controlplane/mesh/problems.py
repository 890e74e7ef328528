"""Problems of the front end: one place for their codes, so that the same mistake always has the same name."""

from collections.abc import Iterable

from controlplane.model.meta import KubernetesObject, origin_of
from controlplane.model.problem import Level, Origin, Problem

NO_PROBLEMS: tuple[Problem, ...] = ()


def not_supported(origin: Origin, what: str, instead: str) -> Problem:
    """A field we understand and do not act on yet."""
    return Problem("FieldNotSupportedYet", Level.ERROR, origin, f"{what} is not supported yet: {instead}")


def not_enforced(policies: Iterable[KubernetesObject]) -> tuple[Problem, ...]:
    """Policies that guard nothing yet."""
    said = "is not enforced yet: what it forbids is allowed"
    return tuple(Problem("KindNotSupportedYet", Level.ERROR, origin_of(one), f"{one.KIND} {said}") for one in policies)


def ineffective(origin: Origin, message: str) -> Problem:
    """A field that is understood and changes nothing, with the reason."""
    return Problem("NoEffect", Level.WARNING, origin, f"no effect: {message}")


def invalid(origin: Origin, message: str) -> Problem:
    """A value that cannot be; it is left out."""
    return Problem("InvalidValue", Level.ERROR, origin, message)


def ignored(origin: Origin, code: str, message: str) -> Problem:
    """Something that is rightly left alone, for those who wonder."""
    return Problem(code, Level.INFO, origin, message)


def conflicted(origin: Origin, what: str, winner: Origin) -> tuple[Problem, ...]:
    """A part that has no effect, because an older object says the same thing: both are told."""
    loser = Problem("Conflicted", Level.ERROR, origin, f"no effect: {winner.ref} has {what} for this host")
    return loser, outdoes(winner, f"{origin.ref} has {what} for this host")


def outdoes(winner: Origin, what: str) -> Problem:
    """What the object is told that has its way."""
    return Problem("Conflicted", Level.WARNING, winner, f"{what}, without effect: this object is older. Remove one")
