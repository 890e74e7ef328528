"""What an installation does, for who watches: lines, and on a terminal what it waits for while it waits."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from controlplane.install.health import Trouble
from controlplane.install.objects import Ref
from controlplane.install.planning import Does, Step

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

_STYLES: Final = {Does.CREATE: "green", Does.CHANGE: "yellow", Does.REMOVE: "red"}


class Teller:
    """See `installing.Progress`. On standard error: standard output is for data."""

    def __init__(self, console: "Console", status: "Status | None") -> None:
        self._console = console
        self._status = status
        self._begun: dict[Ref, float] = {}
        self._waiting: dict[Ref, str] = {}

    def did(self, step: Step) -> None:
        if step.does is not Does.NOTHING:
            self._line(str(step.does), str(step.ref), _STYLES.get(step.does, "dim"))

    def waits(self, ref: Ref, words: str, found: Sequence[Trouble]) -> None:
        self._begun.setdefault(ref, time.monotonic())
        if self._status is not None:
            self._status.update(f"{ref}: {words}")
        elif self._waiting.get(ref) != words:
            self._line("waiting", f"{ref}: {words}", "dim")
        self._waiting[ref] = words
        for trouble in found[:1]:
            self._line("trouble", str(trouble), "red" if trouble.stuck else "yellow")

    def up(self, ref: Ref) -> None:
        seconds = time.monotonic() - self._begun.get(ref, time.monotonic())
        self._line("up", f"{ref}{f' after {seconds:.0f} s' if seconds >= 1 else ''}", "bold green")

    def note(self, words: str) -> None:
        """Something to know."""
        self._line("note", words, "cyan")

    def _line(self, what: str, words: str, style: str) -> None:
        from rich.text import Text  # noqa: PLC0415  as below

        self._console.print(Text(f"{what:<14}", style).append(words, ""), soft_wrap=True)


@contextmanager
def telling() -> Iterator[Teller]:
    """While something is done."""
    from rich.console import Console  # noqa: PLC0415  (loaded when it is used)

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield Teller(console, None)
        return
    with console.status("looking at the cluster") as status:
        yield Teller(console, status)
