"""What the validation webhook asks of the mesh that is served, as long as that keeps nobody waiting."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from controlplane.app.control import ControlPlane
from controlplane.base.clock import Clock
from controlplane.compile.whatif import reported_of
from controlplane.model.problem import ObjectRef, Problem

_LONGEST: Final = 0.1  # seconds, in which the loop does nothing else; what concerns a few hosts takes milliseconds


def foreseeing(control: ControlPlane, clock: Clock) -> Callable[[ObjectRef, Any], Iterable[Problem]]:
    """A mesh that is not read yet would miss everything in everything: nothing is said until it is served."""

    def consequences(ref: ObjectRef, value: Any) -> Iterable[Problem]:
        if not control.is_serving:
            return ()
        until = clock.monotonic() + _LONGEST
        return reported_of(control.graph, ref, value, lambda: clock.monotonic() > until)

    return consequences
