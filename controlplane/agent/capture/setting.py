"""Setting the rules: seen to be there before it counts as done, and not set again where they are.

An init container may run twice (a node restarts, a Pod's sandbox is made anew), and somebody else's rules may be there.
"""

from collections.abc import Callable, Sequence
from itertools import zip_longest

from controlplane.agent.capture.backend import Backend, Failed, backends, ours, removing, setting
from controlplane.agent.capture.options import Capture
from controlplane.agent.capture.rules import Family, rules
from controlplane.agent.logs import Log


def capture(wanted: Capture, family: Family, kind: str, log: Log) -> None:
    """Have exactly these rules. Raises Failed when that cannot be."""
    lines = rules(wanted, family)
    reasons = []
    for backend in _by_likelihood(backends(family, kind)):
        try:
            _have(backend, lines, log)
        except Failed as failed:
            reasons.append(str(failed))
        else:
            return
    raise Failed("; ".join(reasons) or f"there is no iptables for IPv{int(family)}")


def clean_up(kind: str, log: Log) -> None:
    """Leave nothing of ours, in any of them. Raises Failed when something stays."""
    for family in Family:
        for backend in backends(family, kind):
            there = _read(backend)
            if gone := removing(there):
                backend.write(gone)
                log.info("traffic is captured no more", by=str(backend))


def _have(backend: Backend, lines: Sequence[str], log: Log) -> None:
    there = backend.read()
    if _same(ours(there), lines):
        log.info("the rules are there already", by=str(backend), rules=len(lines))
        return
    backend.write(setting(there, lines))
    _check(backend, lines)
    log.info("traffic is captured", by=str(backend), rules=len(lines))


def _check(backend: Backend, lines: Sequence[str]) -> None:
    found = ours(backend.read())
    if not _same(found, lines):
        wrong = next(pair for pair in zip_longest(sorted(lines), sorted(found)) if pair[0] != pair[1])
        raise Failed(f"{backend}: set {wrong[0]!r}, and there is {wrong[1]!r}")


def _same(there: Sequence[str], wanted: Sequence[str]) -> bool:
    """Order counts within a chain, not between them."""
    return _by_chain(there) == _by_chain(wanted)


def _by_chain(lines: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in lines:
        found.setdefault(line.split()[1], []).append(line)
    return found


def _by_likelihood(found: Sequence[Backend]) -> list[Backend]:
    """Where rules of ours are, then where any are, then the newer: a Pod's rules should be in one place."""
    return sorted(found, key=_rank)


def _rank(backend: Backend) -> int:
    there = _read(backend)
    has: Callable[[str], bool] = lambda start: any(line.startswith(start) for line in there)  # noqa: E731
    return 0 if ours(there) else 1 if has("-A ") else 2


def _read(backend: Backend) -> tuple[str, ...]:
    try:
        return backend.read()
    except Failed:
        return ()
