"""Two Envoys with compiled configuration: the sidecars of a caller and of a server, with certificates of their own.

Nothing captures traffic in a test. A captured sidecar's listeners get real sockets instead: those for calls to a
service on a loopback address, `virtualInbound` on the server's address at every port that is called, so that the port
of the socket is the one that filter chains ask for. Behind the server's sidecar is an upstream of the test.
"""

import json
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple

from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2

from controlplane.explain import decode as decode_resources
from controlplane.explain.listenerfilters import ORIGINAL_DST
from controlplane.ir import names
from tests.envoys import RunningEnvoy, Upstreams, start, static_bootstrap
from tests.envoys.certificates import Pair
from tests.envoys.identity import put_identity
from tests.envoys.upstreams import loopback_address
from tests.world import Client

SECONDS = 10.0
_BYTES = b"\x00\x01\x02\x03" * 8 + b"\n"


class Heard(NamedTuple):
    """What a caller was answered, and what the application behind the server's sidecar was told."""

    status: int  # 0: the connection was cut
    headers: Mapping[str, str] = {}

    @property
    def caller(self) -> str:
        """Who the application was told is calling."""
        told = dict(part.partition("=")[::2] for part in self.headers.get("x-forwarded-client-cert", "").split(";"))
        return told.get("URI", "")


class Neighbours(NamedTuple):
    """Both sidecars, running."""

    caller: RunningEnvoy
    server: RunningEnvoy
    caller_at: str
    server_at: str

    def request(self, port: int, host: str = "back") -> Heard:
        """HTTP, through the caller's sidecar."""
        return _request((self.caller_at, port), host)

    def send(self, port: int) -> bytes:
        """Bytes, through the caller's sidecar; what came back."""
        return _send((self.caller_at, port))

    def request_past(self, port: int, tls: ssl.SSLContext | None = None) -> Heard:
        """HTTP from somebody without a sidecar, to the server's."""
        return _request((self.server_at, port), "back", tls)

    def send_past(self, port: int, tls: ssl.SSLContext | None = None) -> bytes:
        return _send((self.server_at, port), tls)


@contextmanager
def neighbours(
    caller: Client,
    server: Client,
    upstreams: Upstreams,
    *,
    certificates: tuple[Pair | None, Pair | None],
    calls: Sequence[int],
    ports: Sequence[int],
) -> Iterator[Neighbours]:
    """`certificates` of caller and server; `calls`: ports of services; `ports`: of the server's workload."""
    caller_at, server_at = loopback_address(), server.proxy.ips[0]
    behind = upstreams.add("application")
    theirs, ours = _bootstrap(server), _bootstrap(caller)
    _open_inbound(theirs, server_at, ports, behind)
    _open_outbound(ours, caller_at, calls)
    with (
        start(theirs, prepare=partial(put_identity, pair=certificates[1])) as second,
        start(ours, prepare=partial(put_identity, pair=certificates[0])) as first,
    ):
        yield Neighbours(first, second, caller_at, server_at)


def _bootstrap(client: Client) -> Any:
    resources, _ = decode_resources(client.resources())
    return static_bootstrap(resources, validate_clusters=False, identity=True)


def _open_outbound(bootstrap: bootstrap_pb2.Bootstrap, at: str, ports: Sequence[int]) -> None:
    """The listeners of these ports, and no others."""
    kept = []
    for listener in bootstrap.static_resources.listeners:
        address = listener.address.socket_address
        if address.port_value in ports:
            address.address = at
            listener.ClearField("bind_to_port")
            kept.append(listener)
    _keep(bootstrap, kept)


def _open_inbound(bootstrap: bootstrap_pb2.Bootstrap, at: str, ports: Sequence[int], behind: tuple[str, int]) -> None:
    """`virtualInbound` at each of these ports, and the application behind all of them."""
    (entry,) = (one for one in bootstrap.static_resources.listeners if one.name == names.VIRTUAL_INBOUND)
    filters = [one for one in entry.listener_filters if one.typed_config.type_url != ORIGINAL_DST]
    del entry.listener_filters[:]
    entry.listener_filters.extend(filters)
    opened = []
    for port in ports:
        listener = type(entry)()
        listener.CopyFrom(entry)
        listener.name = f"{entry.name} {port}"
        listener.address.socket_address.address, listener.address.socket_address.port_value = at, port
        opened.append(listener)
    _keep(bootstrap, opened)
    for cluster in bootstrap.static_resources.clusters:
        if cluster.name.startswith("inbound|") or cluster.name == names.INBOUND_PASSTHROUGH_CLUSTER:
            _lead_to(cluster, behind)


def _lead_to(cluster: Any, place: tuple[str, int]) -> None:
    cluster.type, cluster.lb_policy = cluster_pb2.Cluster.STATIC, cluster_pb2.Cluster.ROUND_ROBIN
    cluster.ClearField("upstream_bind_config")
    cluster.load_assignment.cluster_name = cluster.name
    address = cluster.load_assignment.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
    address.address, address.port_value = place


def _keep(bootstrap: bootstrap_pb2.Bootstrap, listeners: Sequence[Any]) -> None:
    del bootstrap.static_resources.listeners[:]
    bootstrap.static_resources.listeners.extend(listeners)


def _request(at: tuple[str, int], host: str, tls: ssl.SSLContext | None = None) -> Heard:
    with closing(HTTPConnection(*at, timeout=SECONDS)) as connection:
        try:
            connection.connect()
            if tls is not None:
                connection.sock = tls.wrap_socket(connection.sock, server_hostname=host)
            connection.request("GET", "/", headers={"host": f"{host}:{at[1]}"})
            response = connection.getresponse()
            body = response.read()
        except (HTTPException, OSError):
            return Heard(0)
    return Heard(response.status, _told(body) if response.status == 200 else {})


def _told(body: bytes) -> Mapping[str, str]:
    return dict(json.loads(body)["headers"])


def _send(at: tuple[str, int], tls: ssl.SSLContext | None = None) -> bytes:
    try:
        with socket.create_connection(at, SECONDS) as plain, _wrapped(plain, tls) as connection:
            connection.sendall(_BYTES)
            return connection.recv(1000)
    except OSError:
        return b""


def _wrapped(plain: socket.socket, tls: ssl.SSLContext | None) -> socket.socket:
    return plain if tls is None else tls.wrap_socket(plain, server_hostname="back")
