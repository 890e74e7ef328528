"""Problems of the front end: one place for their codes, so that the same mistake always has the same name."""

from controlplane.model.problem import Level, Origin, Problem

NO_PROBLEMS: tuple[Problem, ...] = ()


def not_supported(origin: Origin, what: str, instead: str) -> Problem:
    """A field we understand and do not act on yet."""
    return Problem("FieldNotSupportedYet", Level.ERROR, origin, f"{what} is not supported yet: {instead}")


def ineffective(origin: Origin, message: str) -> Problem:
    """A field that is understood and changes nothing, with the reason."""
    return Problem("IneffectiveField", Level.WARNING, origin, f"no effect: {message}")


def invalid(origin: Origin, message: str) -> Problem:
    """A value that cannot be; it is left out."""
    return Problem("InvalidField", Level.ERROR, origin, message)


def deprecated(origin: Origin, message: str) -> Problem:
    """A field with a successor."""
    return Problem("Deprecated", Level.WARNING, origin, message)


def ignored(origin: Origin, code: str, message: str) -> Problem:
    """Something that is rightly left alone, for those who wonder."""
    return Problem(code, Level.INFO, origin, message)
