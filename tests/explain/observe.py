"""Ask the real Envoy, and read what it did from its access log.

One Envoy serves a whole batch. Copies of the resources get what makes their steps visible: every route and filter
chain is stamped with its place in metadata, and access logs print the stamps. Nothing that decides is changed, but
- a listener that restores original destinations from the kernel reads them from a PROXY header,
- a listener bound to every address is bound to one of 127.0.0.0/8 (`stand_in`),
- outlier detection and circuit breakers go: what they say depends on the calls before,
- listeners wait less long for clients that say nothing.
"""

import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec
from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2
from envoy.extensions.filters.listener.proxy_protocol.v3 import proxy_protocol_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from controlplane.base.varint import varint
from controlplane.explain import Address, Call, Resources, Speaks, Tls
from controlplane.explain.listener import addresses, is_bound
from controlplane.explain.listenerfilters import ORIGINAL_DST
from tests.envoys import RunningEnvoy, start, static_bootstrap
from tests.envoys.certificates import identity_file, leaf_file
from tests.envoys.messages import walk

STAMP = "lateen.test"
SILENCE_SECONDS = 1.0  # how long a client that says nothing waits for the connection to be cut
_LISTENERS_WAIT_MS = 250  # a connection may meet two listeners
_PATIENCE_SECONDS = 4.0
_NOT_HTTP = b"\x00\x01\x02\x03" * 8 + b"\n"  # long enough for inspectors to tell what it is not
_HPACK_MORE = 127  # lengths from here on continue in further bytes
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

_FORMAT = {
    "peer": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    "listener": f"%METADATA(LISTENER:{STAMP}:place)%",
    "chain": f"%METADATA(LISTENER_FILTER_CHAIN:{STAMP}:place)%",
    "route": f"%METADATA(ROUTE:{STAMP}:place)%",
    "cluster": "%UPSTREAM_CLUSTER_RAW%",
    "endpoint": "%UPSTREAM_HOST%",
    "upstream_client": "%UPSTREAM_LOCAL_ADDRESS%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "location": "%RESP(LOCATION)%",
    "echo_host": "%RESP(X-ECHO-HOST)%",
    "echo_path": "%RESP(X-ECHO-PATH)%",
    "grpc_status": "%RESP(GRPC-STATUS)%",
    "sent": "%BYTES_SENT%",
    "tls_failure": "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
}


class Observation(msgspec.Struct, frozen=True):
    """What Envoy did with a call. Empty strings and zeros where it did not get that far."""

    call: Call  # as it was made: with the source port the kernel chose
    refused: bool = False
    stuck: bool = False  # the client waited in vain
    cut: bool = False  # the peer closed the connection before the client had what it waited for
    listener: str = ""
    chain: str = ""
    tls_failure: str = ""
    filter: str = ""  # "http" or "tcp": which network filter logged
    route: str = ""  # "<route configuration> <virtual host> <index>"
    cluster: str = ""
    endpoint: str = ""
    upstream_client: str = ""  # the address the endpoint was called from
    secured: str = ""  # how the endpoint saw that connection: see `Upstreams.seen`
    status: int = 0
    flags: tuple[str, ...] = ()
    details: str = ""
    location: str = ""
    echo_host: str = ""
    echo_path: str = ""
    grpc_status: str = ""
    sent: int = 0  # bytes of the response's body

    @property
    def timed_out(self) -> bool:
        """Cut before a filter chain was asked for: the listener's filters waited for the client in vain."""
        return self.cut and not self.chain and not self.flags


def place(config: str, virtual_host: str, index: int) -> str:
    """How a route is called in the log, whether or not it has a name."""
    return f"{config} {virtual_host} {index}"


@contextmanager
def envoy_of(resources: Resources, stand_in: str = "127.0.0.1") -> Iterator[RunningEnvoy]:
    """An Envoy that serves these resources with visible steps."""
    bootstrap = static_bootstrap(resources, validate_clusters=False)
    _make_harmless(bootstrap.static_resources, stand_in)
    with start(bootstrap, access_log=_make_visible, log_level="critical") as envoy:
        yield envoy


def _make_harmless(static: Any, stand_in: str) -> None:
    for cluster in static.clusters:
        cluster.ClearField("outlier_detection")
        cluster.ClearField("circuit_breakers")
    for listener in static.listeners:
        if not listener.HasField("listener_filters_timeout") or listener.listener_filters_timeout.ToTimedelta():
            listener.listener_filters_timeout.FromMilliseconds(_LISTENERS_WAIT_MS)  # 0 is for ever
        for at in addresses(listener):
            if at.address in {"0.0.0.0", "::"} and is_bound(listener):
                at.address = stand_in


def observe(
    envoy: RunningEnvoy, calls: Sequence[Call], threads: int = 16, silence: float = SILENCE_SECONDS
) -> list[Observation]:
    """Makes the calls and reads the log; one observation a call, in order. Silent clients wait `silence` seconds."""
    with ThreadPoolExecutor(threads) as pool:
        ports = _Ports()
        made = list(pool.map(lambda call: _Caller(call, ports, silence), calls))
    records = _records(envoy, {str(caller.peer) for caller in made if not caller.refused})
    return [caller.observation(records.get(str(caller.peer), [])) for caller in made]


def _records(envoy: RunningEnvoy, peers: set[str]) -> dict[str, list[dict[str, Any]]]:
    """Log records by client socket, once every connection has its closing record."""
    found: dict[str, list[dict[str, Any]]] = {}

    def all_closed() -> bool:
        found.clear()
        for record in envoy.log.records():
            if record["peer"] in peers:
                found.setdefault(record["peer"], []).append(record)
        closed = {peer for peer, each in found.items() if any(r["at"] == "listener" for r in each)}
        return closed == peers

    envoy.wait_for(all_closed, lambda: f"{len(peers - found.keys())} connections in the access log")
    return found


def _make_visible(bootstrap: Any, log: Path) -> None:
    static = bootstrap.static_resources
    for listener in static.listeners:
        stamp(listener, listener.name)
        listener.access_log.append(_logger(log, "listener"))
        for number, chain in enumerate(listener.filter_chains):
            stamp(chain, f"{number}")
        if listener.HasField("default_filter_chain"):
            stamp(listener.default_filter_chain, "default")
        _restore_by_proxy_header(listener)
    walk(static, lambda message: _log(message, log))


def stamp(message: Any, text: str) -> None:
    message.metadata.filter_metadata[STAMP].fields["place"].string_value = text


def _log(message: Any, log: Path) -> None:
    if isinstance(message, http_connection_manager_pb2.HttpConnectionManager):
        message.access_log.append(_logger(log, "http"))
    elif isinstance(message, tcp_proxy_pb2.TcpProxy):
        message.access_log.append(_logger(log, "tcp"))
    elif isinstance(message, route_pb2.RouteConfiguration):
        for host in message.virtual_hosts:
            for index, route in enumerate(host.routes):
                stamp(route, place(message.name, host.name, index))


def _logger(log: Path, where: str) -> Any:
    """One JSON object a line, into the one file of this Envoy."""
    found = accesslog_pb2.AccessLog(name=where)
    config = file_pb2.FileAccessLog(path=str(log))
    for key, value in {"at": where, **_FORMAT}.items():
        config.log_format.json_format.fields[key].string_value = value
    found.typed_config.Pack(config)
    return found


def _restore_by_proxy_header(listener: Any) -> None:
    """Envoy adds the original_dst filter by itself where destinations are handed on and nobody has added it."""
    restoring = [one for one in listener.listener_filters if one.typed_config.type_url == ORIGINAL_DST]
    if not restoring and listener.use_original_dst.value:
        others = list(listener.listener_filters)
        del listener.listener_filters[:]
        restoring = [listener.listener_filters.add(name="original_dst")]
        listener.listener_filters.extend(others)  # the header comes before everything else
    for one in restoring:
        one.typed_config.Pack(proxy_protocol_pb2.ProxyProtocol(allow_requests_without_proxy_protocol=True))


def _client_tls(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if tls.alpn:
        context.set_alpn_protocols(list(tls.alpn))
    if tls.shows_certificate:
        context.load_cert_chain(identity_file(*tls.names) if tls.names else leaf_file())
    return context


class _Ports:
    """Client sockets tell calls apart in the log, so none may come twice; the kernel gives ports out again soon."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._used: set[Address] = set()

    def bind(self, ip: str) -> socket.socket:
        while True:
            found = socket.socket()
            found.bind((ip, 0))
            with self._lock:
                if (at := Address(*found.getsockname())) not in self._used:
                    self._used.add(at)
                    return found
            found.close()


class _Caller:
    """Makes one call, as the caller's own socket sees it."""

    def __init__(self, call: Call, ports: _Ports, silence: float) -> None:
        self._ports, self._silence = ports, silence
        self._context = _client_tls(call.tls) if call.tls else None  # now: listeners do not wait long
        self.call = call
        self.refused = self.cut = self.stuck = False
        self.peer: Address | None = None
        try:
            self._connect()
        except ConnectionRefusedError:
            self.refused = True

    def _connect(self) -> None:
        call = self.call
        with self._ports.bind(call.source.ip) as plain:
            plain.settimeout(_PATIENCE_SECONDS)
            plain.connect(call.captured_at or call.address)
            self.peer = Address(*plain.getsockname())
            if not call.proxy_header:
                self.call = msgspec.structs.replace(call, source=self.peer)
            try:
                plain.sendall(self._header())
                self._talk(plain)
            except TimeoutError:
                self.stuck = True
            except (ssl.SSLError, ConnectionError):
                self.cut = True

    def _header(self) -> bytes:
        call = self.call
        if call.captured_at:
            return _proxy_line(call.source, call.address)
        return _proxy_line(*call.proxy_header) if call.proxy_header else b""

    def _talk(self, plain: socket.socket) -> None:
        if self.call.tls is None or self._context is None:
            self._converse(plain)
            return
        with self._context.wrap_socket(plain, server_hostname=self.call.tls.sni or None) as secure:
            self._converse(secure)

    def _converse(self, connection: socket.socket) -> None:
        call = self.call
        if call.speaks is Speaks.NOTHING:
            connection.settimeout(self._silence)
            self.cut = _ended(connection)
        elif call.speaks is Speaks.HTTP2:
            connection.sendall(_request2(call))
            self.cut = not _stream_ended(connection)
        else:
            connection.sendall(_NOT_HTTP if call.speaks is Speaks.BYTES else _request1(call))
            self.cut = not _read(connection, call.method)

    def observation(self, records: Iterable[dict[str, Any]]) -> Observation:
        """Later records know more: the listener's closes the connection, the filters' know the request."""
        fields: dict[str, Any] = {}
        for record in sorted(records, key=lambda r: r["at"] == "listener"):
            for key, value in _read_record(record).items():
                fields[key] = fields.get(key) or value
        return Observation(call=self.call, refused=self.refused, stuck=self.stuck, cut=self.cut, **fields)


def _read_record(record: dict[str, Any]) -> dict[str, Any]:
    fields = {key: value or "" for key, value in record.items() if key not in {"at", "peer"}}
    fields["status"], fields["sent"] = int(record["status"] or 0), int(record["sent"] or 0)
    fields["flags"] = tuple(f for f in (record["flags"] or "-").split(",") if f != "-")
    fields["filter"] = "" if record["at"] == "listener" else record["at"]
    if record["at"] == "listener":
        fields["sent"] = 0  # it counts the connection's bytes, not the response's
    return fields


def _proxy_line(source: Address, destination: Address) -> bytes:
    family = "TCP6" if ":" in source.ip else "TCP4"
    return f"PROXY {family} {source.ip} {destination.ip} {source.port} {destination.port}\r\n".encode()


def _request1(call: Call) -> bytes:
    target = f"{call.scheme}://{call.authority}{call.path}" if call.scheme else call.path
    lines = [f"{call.method} {target} {'HTTP/1.0' if call.speaks is Speaks.HTTP10 else 'HTTP/1.1'}"]
    if call.authority:
        lines.append(f"Host: {call.authority}")
    lines += [f"{name}: {value}" for name, value in call.headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _request2(call: Call) -> bytes:
    """The preface, empty settings and one request; every header a plain HPACK literal without index."""
    scheme = call.scheme or ("https" if call.tls else "http")
    pseudo = [(":method", call.method), (":scheme", scheme), (":path", call.path)]
    if call.authority:
        pseudo.append((":authority", call.authority))
    fields = [*pseudo, *((name.lower(), value) for name, value in call.headers)]
    block = b"".join(b"\x00" + _string2(name) + _string2(value) for name, value in fields)
    return _PREFACE + _frame2(4, 0, 0) + _frame2(1, 0x5, 1, block)


def _string2(text: str) -> bytes:
    raw = text.encode("latin-1")
    return (
        bytes([len(raw)]) if len(raw) < _HPACK_MORE else bytes([_HPACK_MORE]) + varint(len(raw) - _HPACK_MORE)
    ) + raw


def _frame2(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def _read(connection: socket.socket, method: str) -> bytes:
    """A whole HTTP answer, anything else as far as it came. Not until the peer closes: Envoy takes a second to."""
    found = b""
    while part := connection.recv(65536):
        found += part
        if not found.startswith(b"HTTP/"[: len(found)]) or _is_whole(found, method):
            break
    return found


def _is_whole(answer: bytes, method: str) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    _, _, length = head.lower().partition(b"\r\ncontent-length: ")
    return bool(end) and (method == "HEAD" or len(body) >= int(length.split(b"\r\n")[0] or b"0"))


def _ended(connection: socket.socket) -> bool:
    try:
        return not connection.recv(1)
    except TimeoutError:
        return False


def _stream_ended(connection: socket.socket) -> bool:
    """Whether stream 1 came to its end, by an answer or a reset."""
    found = b""
    while part := connection.recv(65536):
        found += part
        while len(found) >= 9 and len(found) >= 9 + int.from_bytes(found[:3]):
            kind, flags, stream = found[3], found[4], int.from_bytes(found[5:9])
            found = found[9 + int.from_bytes(found[:3]) :]
            if stream == 1 and (kind == 3 or (kind in {0, 1} and flags & 1)):
                return True
    return False
