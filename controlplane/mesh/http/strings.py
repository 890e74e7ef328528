"""StringMatch: exact, prefix or regex, and what its odd forms mean.

Nothing set, and the regex "*" (no RE2, but accepted since Istio 1.5), both ask whether the thing is there. An empty
prefix holds for whatever is there, so it asks the same; an empty regex holds for the empty string alone. Envoy refuses
the last two as they stand.
"""

from controlplane.ir.route import MatchKind
from controlplane.ir.route import StringMatch as Match
from controlplane.model.virtualservice import StringMatch

PRESENT = Match(MatchKind.PRESENT)


def string_match(written: StringMatch | None, *, ignore_case: bool = False) -> Match:
    """A condition on one string; presence when nothing is said about it."""
    if written is None:
        return PRESENT
    if written.exact is not None:
        return Match(MatchKind.EXACT, written.exact, ignore_case)
    if written.prefix is not None:
        return Match(MatchKind.PREFIX, written.prefix, ignore_case) if written.prefix else PRESENT
    if written.regex is None or written.regex == "*":
        return PRESENT
    return Match(MatchKind.REGEX, written.regex) if written.regex else Match(MatchKind.EXACT, "")
