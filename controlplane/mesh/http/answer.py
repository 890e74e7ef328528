"""Answers a proxy gives by itself: redirects and direct responses."""

import base64
import binascii

from controlplane.ir.route import DirectResponse, Redirect
from controlplane.model.virtualservice import HTTPDirectResponse, HTTPRedirect, RedirectPortSelection

CODES = frozenset({301, 302, 303, 307, 308})  # all Envoy can redirect with

# What a rule answers whose match is good and whose action is not.
BROKEN_RULE = DirectResponse(500)


def redirect(written: HTTPRedirect, *, port: int, tls: bool) -> Redirect | None:
    """`port`: the port the request came to; None for a code Envoy cannot redirect with."""
    code = written.redirect_code or 301
    if code not in CODES:
        return None
    return Redirect(
        code=code,
        scheme=written.scheme or None,
        authority=written.authority or None,
        port=_port(written, port, tls=tls),
        path=None if written.prefix_rewrite else written.uri or None,
        prefix=written.prefix_rewrite or None,
    )


def _port(written: HTTPRedirect, port: int, *, tls: bool) -> int | None:
    """None where the port goes without saying.

    Routes are made for one listener port, so the port of the request is known here. With no port asked for, Envoy
    keeps the one in the request's host and drops it when the scheme changes.
    """
    asked = written.port
    if written.derive_port is RedirectPortSelection.FROM_REQUEST_PORT:
        asked = port
    scheme = written.scheme or ("https" if tls else "http")
    if not asked or (asked, scheme) in {(80, "http"), (443, "https")}:
        return None
    return asked


def direct_response(written: HTTPDirectResponse) -> DirectResponse | None:
    """None without a status an HTTP answer can have, or with a body that is no base64."""
    if written.status is None or not 200 <= written.status < 600:
        return None
    if written.body is None:
        return DirectResponse(written.status)
    if written.body.string is not None:
        return DirectResponse(written.status, text=written.body.string)
    try:
        return DirectResponse(written.status, base64.b64decode(written.body.bytes or "", validate=True))
    except binascii.Error:
        return None
