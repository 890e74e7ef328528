"""One encoded xDS resource.

Encoding is the expensive part of a control plane that fans one change out to thousands of proxies, so it happens
once: a `Resource` carries the bytes, and a version that is nothing but their digest, so that replicas, restarts and
reconnects agree about what a proxy already has.
"""

from typing import NamedTuple

import msgspec

from controlplane.base.digest import digest
from controlplane.model.problem import Origin


class Ref(NamedTuple):
    """A resource named by another one: what make-before-break and the reference check follow."""

    type_url: str
    name: str


class Resource(msgspec.Struct, frozen=True):
    """Only `body` enters the version: the rest changes nothing a proxy sees."""

    type_url: str
    name: str
    version: str  # digest of `body`: at most 16 characters
    body: bytes  # the serialized message, as it goes into `Any.value`
    refs: tuple[Ref, ...] = ()  # clusters, route configurations and secrets it names; sorted
    origins: tuple[Origin, ...] = ()  # the objects and fields it was made from
    waits: bool = False  # a cluster that is warm only when something outside answers: DNS
    ttl: float = 0.0  # seconds a proxy keeps it without hearing from us; 0 = for ever


def resource(  # noqa: PLR0913 - the facts of one resource
    type_url: str,
    name: str,
    body: bytes,
    refs: tuple[Ref, ...] = (),
    origins: tuple[Origin, ...] = (),
    *,
    waits: bool = False,
    ttl: float = 0.0,
) -> Resource:
    """A resource whose version is the digest of its bytes."""
    return Resource(type_url, name, digest(body), body, refs, origins, waits, ttl)
