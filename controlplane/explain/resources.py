"""Everything one proxy holds, as Envoy messages, found by name.

The simulator asks "which cluster is called this?" the way Envoy does: by name, of one proxy's own resources.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from controlplane.model.problem import Origin
from controlplane.snapshot.messages import CLASSES, message
from controlplane.snapshot.resource import Ref, Resource
from controlplane.snapshot.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, VIRTUAL_HOST

# What each resource was made from. Optional everywhere: a configuration without origins still simulates.
Origins = Mapping[Ref, tuple[Origin, ...]]


class Resources(msgspec.Struct, frozen=True):
    """One proxy's configuration. Route configurations are whole: their virtual hosts are inside."""

    listeners: Mapping[str, Any] = {}
    routes: Mapping[str, Any] = {}
    clusters: Mapping[str, Any] = {}
    endpoints: Mapping[str, Any] = {}  # ClusterLoadAssignment by `cluster_name`
    secrets: Mapping[str, Any] = {}

    @classmethod
    def of(cls, messages: Iterable[Any]) -> "Resources":
        """Sorts messages by their type; a message of another type is our own bug."""
        by_type: dict[str, dict[str, Any]] = {url: {} for url in CLASSES}
        for each in messages:
            url = f"type.googleapis.com/{each.DESCRIPTOR.full_name}"
            by_type[url][each.cluster_name if url == ENDPOINT else each.name] = each
        return cls(*(by_type[url] for url in (LISTENER, ROUTE, CLUSTER, ENDPOINT, SECRET)))


def decode(resources: Iterable[Resource]) -> tuple[Resources, dict[Ref, tuple[Origin, ...]]]:
    """What the snapshot holds for one proxy, with virtual hosts that travel alone joined into their routes."""
    origins: dict[Ref, tuple[Origin, ...]] = {}
    whole: list[Any] = []
    hosts: list[tuple[str, Any]] = []
    for resource in resources:
        decoded_message = message(resource)
        origins[Ref(resource.type_url, resource.name)] = resource.origins
        if resource.type_url == VIRTUAL_HOST:
            hosts.append((resource.name, decoded_message))
        else:
            whole.append(decoded_message)
    decoded = Resources.of(whole)
    for name, host in sorted(hosts, key=lambda pair: pair[0]):
        _join(decoded.routes, name, host)
    return decoded, origins


def _join(routes: Mapping[str, Any], name: str, host: Any) -> None:
    """`<route configuration>/<virtual host>`: neither part is asked to be free of slashes, so try the longest."""
    end = len(name)
    while (end := name.rfind("/", 0, end)) > 0:
        if (route := routes.get(name[:end])) is not None:
            route.ClearField("vhds")
            route.virtual_hosts.append(host)
            return
