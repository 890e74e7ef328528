"""The objects of a source on their way to the control plane, and what is wrong with them."""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Final

import structlog

from controlplane.app.control import ControlPlane
from controlplane.model.problem import ObjectRef, Problem
from controlplane.sources.source import Batch, Changes, Source, worst_first

_MANY: Final = 100  # changes in a batch: a list after much that was missed, a namespace that goes

log = structlog.get_logger(__name__)


def _nowhere(_ref: ObjectRef) -> str:
    return ""


async def _as_told(_ref: ObjectRef | None, _version: str) -> bool:
    return True


class Following:
    """One source, followed: see `local.debug.Findings`."""

    def __init__(  # noqa: PLR0913  (what may be asked of a source beside its batches)
        self,
        source: Source,
        control: ControlPlane,
        *,
        place_of: Callable[[ObjectRef], object | None] = _nowhere,
        empty: str = "",
        until_then: Callable[[], Iterable[Problem]] = tuple,
        is_current: Callable[[ObjectRef | None, str], Awaitable[bool]] = _as_told,
    ) -> None:
        """`place_of`: where its author finds an object; nothing where its name says it all. `empty`: what to say when
        there is nothing. `until_then`: what is wrong with the source before its first batch. `is_current`: whether all
        there is was read, where that can be known.
        """
        self._source = source
        self._control = control
        self._place_of = place_of
        self._empty = empty
        self.is_current = is_current
        self._until_then = until_then
        self._wrong: tuple[Problem, ...] = ()

    async def run(self) -> None:
        """Batch after batch. Proxies are served from the first on, which is everything."""
        async with aclosing(self._source.batches()) as batches:
            async for batch in batches:
                await self._take(batch)
                if not self._control.is_serving:
                    self._begin(batch)

    def _begin(self, first: Batch) -> None:
        if self._empty and not first.changes and not first.manifests and not first.problems:
            log.warning(self._empty)
        self._control.start_serving()

    async def _take(self, batch: Batch) -> None:
        self._wrong = batch.problems
        if batch.changes or not self._control.is_serving:
            await self._apply(batch.changes)
            say = log.info if batch.manifests or not self._control.is_serving else log.debug  # a cluster never rests
            say("applied", objects=len(batch.changes))
        else:
            self._control.changed.set()  # what is wrong may be something else

    async def _apply(self, changes: Changes) -> None:
        if self._control.is_serving and len(changes) > _MANY:
            await self._control.apply_in_turns(changes)
        else:
            self._control.apply(changes)

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with objects alone, and with what they say together; worst first."""
        wrong = self._wrong if self._control.is_serving else self._until_then()
        return worst_first((*wrong, *self._control.problems()))

    def place_of(self, problem: Problem) -> str:
        """Where its object stands: "bill.yaml:14:1"."""
        return str(self._place_of(problem.origin.ref) or "")
