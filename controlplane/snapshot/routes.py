"""Virtual hosts travel one by one, or in whole route configurations.

The view keeps a route configuration as a header, without hosts, and each host as a resource of its own, named
`<route configuration>/<host>`. A delta proxy gets the header with a `vhds` field and the hosts beside it; a SotW
proxy, the simulator and `lateen compile` get the whole. Both are joins of bytes that exist already: protobuf fields
may be appended to a message, and of a singular field the last one wins.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from envoy.config.route.v3 import route_components_pb2, route_pb2

from controlplane.base.varint import varint
from controlplane.model.problem import Origin
from controlplane.snapshot.resource import Ref, Resource, resource
from controlplane.snapshot.types import ROUTE, VIRTUAL_HOST

_PLACEHOLDER: Final = "placeholder.invalid"  # RFC 6761: never a real host
_HOSTS_TAG: Final = b"\x12"  # RouteConfiguration.virtual_hosts = 2
_NAME_TAG: Final = b"\x0a"  # VirtualHost.name = 1


def _vhds_suffix() -> bytes:
    message = route_pb2.RouteConfiguration()
    source = message.vhds.config_source
    source.ads.SetInParent()
    source.resource_api_version = 2  # V3
    encoded: bytes = message.SerializeToString(deterministic=True)
    return encoded


_VHDS_SUFFIX: Final = _vhds_suffix()


def host_name(route: str, host: str) -> str:
    """The resource name of one virtual host; its message carries it too, or Envoy could not remove it by VHDS."""
    return f"{route}/{host}"


def route_of(virtual_host: str) -> str:
    """The route configuration a virtual host belongs to: all before the last slash, as Envoy reads it."""
    return virtual_host.rpartition("/")[0]


def with_vhds(header: Resource) -> Resource:
    """The header as a delta proxy gets it: its virtual hosts come by VHDS over the same stream."""
    return resource(ROUTE, header.name, header.body + _VHDS_SUFFIX, header.refs, header.origins, ttl=header.ttl)


def whole_route(header: Resource, hosts: Iterable[Resource]) -> Resource:
    """The route configuration with its virtual hosts inside, in the order given, under their own short names."""
    parts, refs, origins = [header.body], set(header.refs), set(header.origins)
    for host in hosts:
        parts.append(_host_field(header.name, host))
        refs.update(host.refs)
        origins.update(host.origins)
    return resource(ROUTE, header.name, b"".join(parts), _sorted_refs(refs), _sorted_origins(origins), ttl=header.ttl)


def placeholder_name(route: str) -> str:
    """The name of the host that keeps an empty route configuration alive."""
    return host_name(route, _PLACEHOLDER)


def is_placeholder(virtual_host: str) -> bool:
    """Whether this is the name of a placeholder."""
    return virtual_host.endswith("/" + _PLACEHOLDER)


def placeholder_host(route: str) -> Resource:
    """A host nobody calls: with no host at all, the listener of a VHDS route configuration stays warming for ever."""
    name = placeholder_name(route)
    message = route_components_pb2.VirtualHost(name=name, domains=[_PLACEHOLDER])
    return resource(VIRTUAL_HOST, name, message.SerializeToString(deterministic=True))


def _host_field(route: str, host: Resource) -> bytes:
    short = host.name.removeprefix(route + "/").encode()
    body = host.body + _NAME_TAG + varint(len(short)) + short
    return _HOSTS_TAG + varint(len(body)) + body


@lru_cache(maxsize=16_384)
def domains_of(body: bytes) -> frozenset[str]:
    """The domains of an encoded virtual host."""
    return frozenset(route_components_pb2.VirtualHost.FromString(body).domains)


def _sorted_refs(refs: set[Ref]) -> tuple[Ref, ...]:
    return tuple(sorted(refs))


def _sorted_origins(origins: set[Origin]) -> tuple[Origin, ...]:
    return tuple(sorted(origins))
