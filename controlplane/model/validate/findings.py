"""Where the validators of one object put what they find."""

from controlplane.model.problem import Level, ObjectRef, Origin, Problem
from controlplane.model.text import printable


class Findings:
    """Collects the problems of one object, each at a field path such as "spec.http[0].timeout"."""

    def __init__(self, ref: ObjectRef) -> None:
        self._ref = ref
        self._problems: list[Problem] = []
        self.errors = 0  # among them
        self.steps = 0  # of all regular expressions so far, as RE2 counts them

    def error(self, code: str, path: str, message: str) -> None:
        """Something asked for cannot happen; `units` takes it out."""
        self.errors += 1
        self._add(code, Level.ERROR, path, message)

    def warn(self, code: str, path: str, message: str) -> None:
        """It happens, but probably not as meant."""
        self._add(code, Level.WARNING, path, message)

    def done(self) -> tuple[Problem, ...]:
        """All that was found, in the order of the document."""
        return tuple(self._problems)

    def _add(self, code: str, level: Level, path: str, message: str) -> None:
        self._problems.append(Problem(code, level, Origin(self._ref, printable(path)), printable(message)))
