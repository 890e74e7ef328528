"""Requests that want to become something else: WebSocket and its kin over HTTP/1.1."""

from collections.abc import Iterable
from typing import Any

from controlplane.explain.headers import Headers, first
from controlplane.explain.outcome import Failure

FAILED = Failure("", 403, "upgrade_failed")


def wanted(headers: Headers) -> str:
    """The protocol asked for, in lower case; "" for an ordinary request."""
    tokens = first(headers, "connection").lower().split(",")
    asks = any(token.strip() == "upgrade" for token in tokens)
    return first(headers, "upgrade").lower() if asks else ""


def is_allowed(protocol: str, manager: Any, action: Any | None) -> bool:
    """What the route says about this protocol, or else what the connection manager says; no word is a no."""
    said = _said(protocol, action.upgrade_configs) if action is not None else None
    return bool(_said(protocol, manager.upgrade_configs) if said is None else said)


def _said(protocol: str, configs: Iterable[Any]) -> bool | None:
    for config in configs:
        if config.upgrade_type.lower() == protocol:
            return bool(config.enabled.value) if config.HasField("enabled") else True
    return None
