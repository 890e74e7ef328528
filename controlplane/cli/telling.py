"""Problems as log lines: each once when it appears, and once when it is gone."""

from collections.abc import Callable, Iterable

import structlog

from controlplane.model.problem import Problem

log = structlog.get_logger(__name__)


class ProblemTeller:
    """Remembers what was told."""

    def __init__(self) -> None:
        self._told: frozenset[Problem] = frozenset()

    def tell(self, problems: Iterable[Problem], place_of: Callable[[Problem], str]) -> None:
        """`problems`: all there are now, in the order in which they are told."""
        now = dict.fromkeys(problems)
        for problem in now:
            if problem not in self._told:
                log.log(_NUMBERS[problem.level], "problem", **_fields(problem, place_of(problem)))
        for problem in sorted(self._told - now.keys()):
            log.info("problem solved", **_fields(problem, ""))
        self._told = frozenset(now)


_NUMBERS = {"error": 40, "warning": 30, "info": 20}  # the levels of `logging`


def _fields(problem: Problem, place: str) -> dict[str, str]:
    """Flat, and nothing empty. A file's problem names its place itself."""
    ref = problem.origin.ref
    said = {
        "at": place,
        "object": str(ref) if ref.kind != "File" else "",
        "field": problem.origin.path,
        "message": problem.message,
        "code": problem.code,
    }
    return {key: value for key, value in said.items() if value}
