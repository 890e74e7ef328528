"""Points that are proved by tests leave a line in a ledger; `make prove` prints it.

A test that takes the `proved` fixture says what it found; fewer cases than asked for fail it, whatever it found. What
several tests say in the same words is one line, with their cases together.
"""

from collections.abc import Iterable
from itertools import groupby
from typing import Any, NamedTuple

PROPERTY = "proof"


class Line(NamedTuple):
    """One thing that was to be shown."""

    point: str  # "2", "6.3", "identity 2.1": a number, with the part of the product it is of
    what: str
    bound: str
    figure: str
    cases: int
    asked: int
    holds: bool


def lines_of(reports: Iterable[Any]) -> list[Line]:
    """The ledger, from what the tests left with their reports (they may have run in other processes)."""
    # A test has a report for each of its phases, and what it left is in all that follow.
    left = {
        (report.nodeid, Line(*value))
        for report in reports
        for name, value in report.user_properties
        if name == PROPERTY
    }
    lines = sorted((line for _, line in left), key=lambda line: (_place(line), line.figure))
    return [_together(list(same)) for _, same in groupby(lines, key=_place)]


def _place(line: Line) -> tuple[str, list[int], str, str]:
    part, _, number = line.point.rpartition(" ")
    return part, [int(each) for each in number.split(".")], line.what, line.bound


def _together(lines: list[Line]) -> Line:
    return lines[0]._replace(
        figure=", ".join(dict.fromkeys(line.figure for line in lines)),
        cases=sum(line.cases for line in lines),
        asked=sum(line.asked for line in lines),
        holds=all(map(_good, lines)),
    )


def table(lines: Iterable[Line]) -> list[str]:
    """Aligned columns for a terminal."""
    rows = [("point", "what", "bound", "figure", "cases", "verdict")]
    rows += [
        (line.point, line.what, line.bound, line.figure, f"{line.cases:,}", "holds" if _good(line) else "FALLS SHORT")
        for line in lines
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _good(line: Line) -> bool:
    return line.holds and line.cases >= line.asked
