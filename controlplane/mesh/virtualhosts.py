"""Virtual hosts of sidecars: what a service port, or a host only a VirtualService knows, answers to HTTP callers."""

from datetime import timedelta

import msgspec

from controlplane.ir import names
from controlplane.ir.policy import HashKey
from controlplane.ir.route import Forward, Route, RouteMatch, VirtualHost, WeightedCluster
from controlplane.ir.service import Service, ServicePort
from controlplane.mesh import hosts
from controlplane.mesh.http.retry import retry
from controlplane.model.problem import Origin
from controlplane.model.settings import Settings

_ANY_REQUEST = RouteMatch()
_NO_TIMEOUT = timedelta(0)
_NO_KEYS: tuple[HashKey, ...] = ()


def default_routes(
    service: Service, port: ServicePort, hash_keys: tuple[HashKey, ...], settings: Settings
) -> tuple[Route, ...]:
    """What a service does with requests when no VirtualService says anything."""
    return (
        Route(
            match=_ANY_REQUEST,
            action=Forward(
                destinations=(WeightedCluster(names.outbound_cluster(service.host, port.number)),),
                timeout=_NO_TIMEOUT,
                retry=retry(None, settings, hashed=bool(hash_keys)),
                hash_keys=hash_keys,
            ),
            origin=service.origin,
            operation=f"{service.host}:{port.number}/*",
        ),
    )


def virtual_host(  # noqa: PLR0913  a service port, who calls, and what rules made of it
    service: Service,
    port: ServicePort,
    routes: tuple[Route, ...] | None,
    *,
    caller_namespace: str | None,
    settings: Settings,
    hash_keys: tuple[HashKey, ...] = _NO_KEYS,
    listener_port: int | None = None,
) -> VirtualHost:
    """A service port as callers find it by host. `routes` None: no VirtualService speaks for it.

    `listener_port`: where callers reach it, if an explicit listener stands on another port than the service's.
    """
    dialled = port.number if listener_port is None else listener_port
    return VirtualHost(
        name=names.virtual_host(service.host, port.number),
        domains=hosts.domains(service, dialled, caller_namespace, settings.cluster_domain),
        routes=default_routes(service, port, hash_keys, settings) if routes is None else routes,
        origins=(service.origin,),
    )


def alias_virtual_host(host: VirtualHost, alias: Service, port: int, domains: tuple[str, ...]) -> VirtualHost:
    """The virtual host of a service under another name for it, `domains` being the forms of that name."""
    return msgspec.structs.replace(
        host,
        name=names.virtual_host(alias.host, port),
        domains=domains,
        origins=(alias.origin, *host.origins),
    )


def proxy_virtual_host(host: VirtualHost, port: int) -> VirtualHost:
    """The same host in the table of the explicit proxy, which serves all ports: so its names carry the port."""
    if port == 80:
        return host
    ending = f":{port}"
    domains = tuple(domain for domain in host.domains if domain.endswith(ending))
    return msgspec.structs.replace(host, domains=domains)


def without_names(host: VirtualHost, lost: frozenset[str]) -> VirtualHost:
    """A host without names (written without port) that are others'."""
    if not lost:
        return host
    kept = tuple(domain for domain in host.domains if domain not in lost and domain.rpartition(":")[0] not in lost)
    return msgspec.structs.replace(host, domains=kept)


def only_virtual_host(host: VirtualHost) -> VirtualHost:
    """The host of a table that serves one sniffed port: whatever name a caller uses, it dialled this service."""
    return msgspec.structs.replace(host, domains=("*",))


def literal_virtual_host(
    host: str, port: int, routes: tuple[Route, ...], *, origins: tuple[Origin, ...] = ()
) -> VirtualHost:
    """A host of a VirtualService that no service has. Istio has such hosts on port 80 alone, and so do we."""
    name = hosts.in_authority(host)
    return VirtualHost(
        name=names.virtual_host(host, port), domains=(name, f"{name}:{port}"), routes=routes, origins=origins
    )
