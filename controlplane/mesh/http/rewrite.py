"""HTTPRewrite: path and host as the destination sees them."""

from controlplane.ir.route import MatchKind, Rewrite, RouteMatch
from controlplane.model.virtualservice import HTTPRewrite


def rewrite(written: HTTPRewrite | None, match: RouteMatch, authority: str | None) -> Rewrite | None:
    """`uri` replaces the matched prefix, or the whole path where all of it was matched; a regex rewrite wins over it.

    `authority` is the host that header operations ask for; the rewrite's own is stronger.
    """
    if written is None:
        return Rewrite(authority=authority) if authority else None
    host = written.authority or authority
    regex = written.uri_regex_rewrite
    if regex is not None and regex.match:
        return Rewrite(regex=(regex.match, regex.rewrite or ""), authority=host)
    if not written.uri:
        return Rewrite(authority=host) if host else None
    if match.path is not None and match.path.kind in {MatchKind.EXACT, MatchKind.REGEX}:
        return Rewrite(path=written.uri, authority=host)
    return Rewrite(prefix=written.uri, authority=host)
