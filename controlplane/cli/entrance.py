"""The script `lateen`. The agent runs once beside every workload, so it is let in without what only people need.

`lateen debug` runs in Pods that have little to spare, so it is, too.
"""

import sys

_HELP = frozenset({"-h", "--help"})
_STEPS = (["capture"], ["wait"])  # what the agent's own parser knows all about
_TRACEBACK = "--traceback"  # of every command; an agent's log has it anyway


def main() -> None:
    """`lateen agent` is the agent's own; everything else, its help included, is `cli.main`'s."""
    if sys.argv[1:2] == ["agent"] and (_HELP.isdisjoint(sys.argv) or sys.argv[2:3] in _STEPS):
        from controlplane.agent.entrance import main as agent  # noqa: PLC0415  (without the command line's 20 MB)

        sys.exit(agent([argument for argument in sys.argv[2:] if argument != _TRACEBACK]))
    if sys.argv[1:2] == ["debug"] and _HELP.isdisjoint(sys.argv):
        from controlplane.local.asked import main as debug  # noqa: PLC0415  likewise: it may run beside a loaded one

        sys.exit(debug([argument for argument in sys.argv[2:] if argument != _TRACEBACK]))
    from controlplane.cli.main import main as lateen  # noqa: PLC0415  (likewise the other way round)

    lateen()
