"""Which virtual host of a route configuration an authority belongs to."""

from collections.abc import Iterable
from typing import Any

from controlplane.explain.call import split_port
from controlplane.explain.headers import first
from controlplane.explain.request import Request


def choose(config: Any, request: Request) -> tuple[Any | None, str]:
    """The virtual host and the domain that matched: exact, longest `*suffix`, longest `prefix*`, then `*`."""
    host = _host(config, request)
    ranked = [(_rank(domain.lower(), host), domain, vh) for vh in config.virtual_hosts for domain in vh.domains]
    best = max(ranked, key=lambda entry: entry[0], default=((0, 0), "", None))
    return (best[2], best[1]) if best[0] > (0, 0) else (None, "")


def _host(config: Any, request: Request) -> str:
    name: str = config.vhost_header
    host = first(request.headers, name) if name else request.authority
    return (split_port(host)[0] if config.ignore_port_in_host_matching else host).lower()


def _rank(domain: str, host: str) -> tuple[int, int]:
    """A wildcard stands for at least one character, which need not end at a dot."""
    if domain == host:
        return (4, 0)
    if domain == "*":
        return (1, 0)
    if domain.startswith("*") and host.endswith(domain[1:]) and len(host) >= len(domain):
        return (3, len(domain))
    if domain.endswith("*") and host.startswith(domain[:-1]) and len(host) >= len(domain):
        return (2, len(domain))
    return (0, 0)


def needs_tls(virtual_host: Any, request: Request) -> bool:
    """`require_tls`: what Envoy believes to be anything but https is sent there first."""
    return bool(virtual_host.require_tls) and request.forwarded_proto not in {"https", ""}


def names(config: Any) -> Iterable[str]:
    return (vh.name for vh in config.virtual_hosts)
