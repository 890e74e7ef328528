"""Which of the kinds that matter to us a cluster has. Pure.

An API server tells of all its groups in one document (aggregated discovery, Kubernetes 1.30), with an ETag: asking
every few seconds whether a CRD came or went costs a `304`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from controlplane.model.kinds import MESH_GROUPS, Kind
from controlplane.model.problem import Level, Problem
from controlplane.sources.kubernetes.resource import Resource, reads_metadata_only
from controlplane.sources.kubernetes.wire import Garbage

PATH: Final = "/apis"
ACCEPT: Final = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


class Served(msgspec.Struct, frozen=True):
    """One kind in one version of its group."""

    group: str
    version: str
    kind: str
    plural: str


class Catalogue(msgspec.Struct, frozen=True):
    """What an API server serves beside the core group, which it always does. Preferred versions come first."""

    served: tuple[Served, ...] = ()
    stale: frozenset[str] = frozenset()  # groups it could not ask about: what is missing there may exist


def read_catalogue(body: bytes) -> Catalogue:
    """Raises Garbage."""
    try:
        found = _LIST.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Garbage(f"no list of APIs: {error}") from error
    if found.kind != "APIGroupDiscoveryList":
        raise Garbage(f"no list of APIs: {found.kind[:40]!r} (Kubernetes 1.30 or newer is needed)")
    stale = {group.metadata.name for group in found.items for version in group.versions if version.freshness == "Stale"}
    return Catalogue(tuple(_served(found.items)), frozenset(stale))


def resources(catalogue: Catalogue, kinds: Sequence[Kind]) -> tuple[Resource, ...]:
    """What to list and watch: `kinds`, where they are served, and others that mean something for traffic."""
    found = [_known(kind, version) for kind in kinds if (version := _version(catalogue, kind)) is not None]
    taken = {(kind.group, kind.kind) for kind in kinds}
    return (*found, *_reported(catalogue, taken))


def misversioned(catalogue: Catalogue, kinds: Sequence[Kind]) -> Iterator[Problem]:
    """Kinds that are served, but only in versions nobody here can read."""
    for kind in kinds:
        if _version(catalogue, kind) is None and (there := _versions(catalogue, kind)):
            wanted = " or ".join(kind.versions)
            message = f"{kind.kind} is served as {', '.join(there)} only; {kind.group}/{wanted} is needed"
            resource = _known(kind, there[0])
            yield resource.problem("VersionNotServed", Level.ERROR, message)


def _version(catalogue: Catalogue, kind: Kind) -> str | None:
    if not kind.group:
        return kind.versions[0]
    there = _versions(catalogue, kind)
    return next((version for version in kind.versions if version in there), None)


def _versions(catalogue: Catalogue, kind: Kind) -> list[str]:
    return [one.version for one in catalogue.served if (one.group, one.kind) == (kind.group, kind.kind)]


def _known(kind: Kind, version: str) -> Resource:
    return Resource(
        group=kind.group,
        version=version,
        plural=kind.plural,
        kind=kind.kind,
        known=kind,
        metadata_only=reads_metadata_only(kind),
    )


def _reported(catalogue: Catalogue, taken: set[tuple[str, str]]) -> Iterator[Resource]:
    """Kinds that have no effect yet, which their authors are told: each in its preferred version."""
    for one in catalogue.served:
        name = (one.group, one.kind)
        if name in taken or one.group not in MESH_GROUPS:
            continue
        taken.add(name)
        yield Resource(group=one.group, version=one.version, plural=one.plural, kind=one.kind, metadata_only=True)


def _served(groups: "Iterable[_Group]") -> Iterator[Served]:
    for group in groups:
        for version in group.versions:
            for resource in version.resources:
                if {"list", "watch"} <= set(resource.verbs) and resource.response.kind:
                    yield Served(group.metadata.name, version.version, resource.response.kind, resource.resource)


class _Name(msgspec.Struct):
    name: str = ""


class _Response(msgspec.Struct):
    kind: str = ""


class _Resource(msgspec.Struct):
    resource: str
    response: _Response = msgspec.field(default_factory=_Response, name="responseKind")
    verbs: list[str] = msgspec.field(default_factory=list)


class _Version(msgspec.Struct):
    version: str
    resources: list[_Resource] = msgspec.field(default_factory=list)
    freshness: str = ""


class _Group(msgspec.Struct):
    metadata: _Name = msgspec.field(default_factory=_Name)
    versions: list[_Version] = msgspec.field(default_factory=list)


class _GroupList(msgspec.Struct):
    kind: str
    items: list[_Group]


_LIST: Final = msgspec.json.Decoder(_GroupList)
