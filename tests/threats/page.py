"""The tables of docs/security.md: ports from the code that answers there, threats from the list of them.

python -m tests.threats.page docs/security.md
"""

import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from tests.threats.ports import KINDS, answered
from tests.threats.rows import THREATS, Threat


def rendered(page: str) -> str:
    """The page with its tables as they should be."""
    for name, lines in (("ports", _ports()), ("threats", _threats())):
        begin, end = f"<!-- {name}: made by `make reference` -->\n", f"<!-- {name} end -->"
        head, _, rest = page.partition(begin)
        _, _, tail = rest.partition(end)
        page = "\n".join([head + begin, *lines, "", end + tail])
    return page


def _ports() -> Iterator[str]:
    yield from _table(["port", "method", "path", *KINDS])
    for port, each in groupby(answered(), lambda one: one.port):
        for number, one in enumerate(each):
            marks = ["yes" if kind in one.callers else "" for kind in KINDS]
            yield _row([port if number == 0 else "", one.method, f"`{one.path}`", *marks])


def _threats() -> Iterator[str]:
    yield from _table(["", "threat", "what is done", "shown by (in `tests/`)", "not yet"])
    for one in THREATS:
        yield _row([str(one.number), one.attack, one.defence, _tests(one), one.not_yet])


def _tests(threat: Threat) -> str:
    return "<br>".join(f"`{each.replace('.py::', '` `')}`" for each in threat.tests)


def _table(heads: Sequence[str]) -> Iterator[str]:
    yield _row(heads)
    yield "|" + "---|" * len(heads)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(rendered(path.read_text(encoding="utf-8")), encoding="utf-8")
