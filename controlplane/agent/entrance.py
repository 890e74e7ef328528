"""`lateen agent …`: the agent itself, or what is done once beside it by a process of its own.

Each is loaded without the others: the capture of traffic is the first thing in every Pod, and everything waits for it.
"""

from collections.abc import Sequence

from controlplane.agent import flags


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    name, rest = (arguments[0], arguments[1:]) if arguments else ("", arguments)
    if name == flags.CAPTURE:
        from controlplane.agent.capture.command import main as capture  # noqa: PLC0415  (see above)

        return capture(rest)
    if name == flags.WAIT:
        from controlplane.agent.waiting import main as wait  # noqa: PLC0415  (see above)

        return wait(rest)
    if name == flags.DRAIN:
        from controlplane.agent.leaving import main as drain  # noqa: PLC0415  (see above)

        return drain(rest)
    from controlplane.agent.main import main as agent  # noqa: PLC0415  (see above)

    return agent(arguments)
