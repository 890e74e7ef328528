"""Hosts of an Ingress: `shop.example.com`, `*.example.com`, and every host, which is written by leaving the field out.

A wildcard stands for one label (IngressRule.host): `*.example.com` has `shop.example.com` and not `a.shop.example.com`.
"""

from typing import Final

from controlplane.mesh.hosts import wildcard_above
from controlplane.model.validate.common import is_fqdn, is_ip, is_wildcard

EVERY_HOST: Final = "*"


def fault(host: str) -> str:
    """Why a name cannot be the host of a rule or of a certificate."""
    if is_ip(host.strip("[]")):
        return f'"{host}" is an address, and a host is a name'
    if host == EVERY_HOST:
        return '"*" alone is no host; leave the field out for every host'
    if host.endswith(".") or not (is_fqdn(host) or (host.startswith("*.") and is_wildcard(host))):
        return f'"{host}" is no host name, nor one after "*."'
    return ""


def is_one_label(host: str) -> bool:
    """Whether a host stands for names of one more label."""
    return host.startswith("*.")


def covers(pattern: str, host: str) -> bool:
    """Whether all that `host` stands for is within `pattern`."""
    return pattern in {EVERY_HOST, host} or (pattern != "" and one_label_above(host) == pattern)


def narrower(one: str, other: str) -> str | None:
    """What two hosts have in common."""
    if covers(one, other):
        return other
    return one if covers(other, one) else None


def one_label_above(host: str) -> str:
    """The wildcard that covers a name; a wildcard has none."""
    return "" if host.startswith("*") else wildcard_above(host)
