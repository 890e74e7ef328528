"""Random meshes as a source of configurations: manifests are compiled, and one proxy's resources are asked.

Seeds go round: a captured sidecar beside a Pod, one beside a caller, a sidecar without capture, a gateway.
"""

from collections.abc import Iterable, Mapping, Sequence
from random import Random  # noqa: TID251 — takes its seed as an argument
from typing import Any

import msgspec
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from controlplane.explain import Address, Call, Resources, decode
from controlplane.explain.listener import addresses as addresses_of
from controlplane.explain.listener import is_bound
from controlplane.explain.network import secret_names, tls_context
from controlplane.model.proxy import Proxy
from controlplane.store import Change
from tests.explain.case import Addresses, Case
from tests.explain.generate.calls import calls_of
from tests.meshes import SETTINGS, Ground, random_mesh
from tests.world import Client, World

PROXIES = 4
_CALLS = 32  # for one proxy
_OUTBOUND, _INBOUND, _ANY = "virtualOutbound", "virtualInbound", "0.0.0.0"


def provide(seed: int, addresses: Addresses, endpoints: Sequence[Address]) -> Case:
    """Seed `4 * mesh + proxy`."""
    rng = Random(seed)
    stand_in = addresses.take()
    resources, proxy = _compiled(seed, _ground(addresses, endpoints))
    calls = [*_outbound(rng, resources, stand_in, endpoints), *_inbound(rng, resources, proxy, stand_in)]
    return Case(resources, (*calls, *_direct(rng, resources)), stand_in)


def _ground(addresses: Addresses, endpoints: Sequence[Address]) -> Ground:
    """Workloads where the upstreams are, virtual addresses and sockets where nobody else is."""
    virtual, external, bind = (addresses.take().split(".") for _ in range(3))
    return Ground(
        workloads=tuple(dict.fromkeys(one.ip for one in endpoints)),
        ports=(endpoints[0].port, endpoints[1].port),
        virtual=f"127.{(int(virtual[1]) + 64) % 128 + 1}",
        external=f"127.{(int(external[1]) + 65) % 128 + 1}",
        bind=".".join(bind[:3]),
        real=True,
    )


def _compiled(seed: int, ground: Ground) -> tuple[Resources, Proxy]:
    mesh = random_mesh(seed // PROXIES, ground)
    world = World(SETTINGS)
    world.change(mesh.objects())
    proxy = mesh.proxies[seed % PROXIES % len(mesh.proxies)]
    revision = world.graph.store.apply([Change(world.graph.inputs.proxies, "1", proxy)])
    assert not revision.failures, revision.failures
    resources, _ = decode(Client(world, "1", proxy).resources())
    return msgspec.structs.replace(resources, secrets=_all_secrets(resources)), proxy


def _all_secrets(resources: Resources) -> Mapping[str, Any]:
    """The harness has a certificate for every name, so none is missing here."""
    names = [name for chain in _chains(resources) if (context := tls_context(chain)) for name in secret_names(context)]
    return {**{name: secret_pb2.Secret(name=name) for name in names}, **resources.secrets}


def _chains(resources: Resources) -> Iterable[Any]:
    for listener in resources.listeners.values():
        yield from (*listener.filter_chains, listener.default_filter_chain)


def _outbound(rng: Random, resources: Resources, stand_in: str, endpoints: Sequence[Address]) -> tuple[Call, ...]:
    """Captured on their way out: to what listeners are for, to workloads, and to addresses nobody knows."""
    if _OUTBOUND not in resources.listeners:
        return ()
    owned = {name: one for name, one in resources.listeners.items() if not is_bound(one)}
    places = [Address(at.address, at.port_value) for one in owned.values() for at in addresses_of(one)]
    ips = [place.ip for place in places if place.ip != _ANY] or [endpoints[0].ip]
    wanted = [Address(rng.choice(ips) if place.ip == _ANY else place.ip, place.port) for place in places]
    wanted += [*rng.sample(list(endpoints), 2), Address(ips[0], 9)]
    entry = resources.listeners[_OUTBOUND]
    part = msgspec.structs.replace(resources, listeners=owned or {entry.name: entry})
    return calls_of(rng, part, wanted, _CALLS, captured_at=Address(stand_in, _port(entry)))


def _inbound(rng: Random, resources: Resources, proxy: Proxy, stand_in: str) -> tuple[Call, ...]:
    """Captured on their way in: to the ports chains are for, and others."""
    if _INBOUND not in resources.listeners:
        return ()
    entry = resources.listeners[_INBOUND]
    ports = {chain.filter_chain_match.destination_port.value for chain in entry.filter_chains} - {0}
    wanted = [Address(proxy.ips[0], port) for port in (*sorted(ports), *sorted(ports), 7777)]
    part = msgspec.structs.replace(resources, listeners={entry.name: entry})
    return calls_of(rng, part, wanted, _CALLS // 3, captured_at=Address(stand_in, _port(entry)))


def _direct(rng: Random, resources: Resources) -> Iterable[Call]:
    """To sockets the proxy has of its own: a gateway's, or an explicit sidecar's."""
    own = {n: one for n, one in resources.listeners.items() if is_bound(one) and n not in {_OUTBOUND, _INBOUND}}
    part = msgspec.structs.replace(resources, listeners=own)
    wanted = [Address(at.address, at.port_value) for one in own.values() for at in addresses_of(one)]
    few = _OUTBOUND in resources.listeners
    return calls_of(rng, part, wanted, _CALLS // 6 if few else _CALLS) if own else ()


def _port(listener: Any) -> int:
    return int(listener.address.socket_address.port_value)
