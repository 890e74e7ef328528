"""What policies say of one call, read from the policies themselves.

    decide(policies, asked, settings) -> Decision

Written from the specification of AuthorizationPolicy, and not from what the compiler makes of it: the two are held
against each other, and against real Envoys, on random policies and calls. Pure: no clock, no network, no chance.
"""

from controlplane.explain.authorization.asked import Asked, Message
from controlplane.explain.authorization.decide import Decision, DryRun, Miss, RuleName, decide
from controlplane.explain.authorization.selecting import selecting

__all__ = ["Asked", "Decision", "DryRun", "Message", "Miss", "RuleName", "decide", "selecting"]
