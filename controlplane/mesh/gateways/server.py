"""One server of a Gateway, read by itself."""

from datetime import UTC, datetime
from enum import Enum

import msgspec

from controlplane.ir import names
from controlplane.ir.listener import ServerTls
from controlplane.ir.service import Protocol
from controlplane.mesh import hosts, protocol
from controlplane.mesh.hosts import UNIX
from controlplane.mesh.problems import ineffective, invalid, not_supported
from controlplane.mesh.servertls import istio_mutual, server_tls, terminates
from controlplane.model import gateway as model
from controlplane.model.gateway import Gateway, ServerTLSMode
from controlplane.model.problem import Origin, Problem
from controlplane.model.settings import Settings

EVERY_NAMESPACE = "*"

ServerKey = tuple[str, str, int]  # (namespace, name of the Gateway, index of the server)
Age = tuple[datetime, str, str]  # sorts the oldest first; objects without age come last, by (namespace, name)
_NO_AGE = datetime.max.replace(tzinfo=UTC)


class Kind(Enum):
    """What a server does with connections."""

    HTTP = "http"
    HTTPS = "https"  # TLS ends here, HTTP inside
    TCP = "tcp"
    TLS = "tls"  # TLS ends here, bytes inside
    PASSTHROUGH = "passthrough"  # TLS goes on

    @property
    def by_sni(self) -> bool:
        """Servers that share a port because the server name tells them apart."""
        return self in {Kind.HTTPS, Kind.TLS, Kind.PASSTHROUGH}

    @property
    def speaks_http(self) -> bool:
        return self in {Kind.HTTP, Kind.HTTPS}


class Admission(msgspec.Struct, frozen=True, order=True):
    """VirtualServices of a namespace ("*" = any) may attach to a host."""

    host: str  # exact, "*.suffix" or "*"
    namespace: str


class Server(msgspec.Struct, frozen=True):
    """A server, ready to be opened."""

    key: ServerKey
    kind: Kind
    port: int  # as the Gateway says it, which is also what routes ask for
    bind: str  # address or "unix:///path"; "" = all addresses
    admits: tuple[Admission, ...]
    origin: Origin
    port_name: str = ""
    tls: ServerTls | None = None
    https_redirect: bool = False
    grpc_web: bool = False
    age: Age = (_NO_AGE, "", "")  # of its Gateway
    attachable: bool = True  # by VirtualServices; the servers of Ingresses carry those alone

    @property
    def gateway(self) -> str:
        """The Gateway as VirtualServices name it."""
        return f"{self.key[0]}/{self.key[1]}"

    @property
    def place(self) -> tuple[str, int]:
        """Servers of one place share a listener."""
        return self.bind, self.port

    @property
    def table(self) -> str:
        """Its route table; plain HTTP servers of one place share theirs."""
        if self.kind is Kind.HTTPS:
            return names.gateway_https_route(self.port, self.port_name, self.key[1], self.key[0])
        if self.kind is Kind.HTTP:
            name = names.gateway_http_route(self.port)
            return f"{name}.{self.bind}" if self.bind else name
        return ""

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names it serves, sorted."""
        return tuple(sorted({admission.host for admission in self.admits}))


def read_server(
    gateway: Gateway, index: int, written: model.Server, origin: Origin, settings: Settings
) -> tuple[Server | None, tuple[Problem, ...]]:
    """A server that cannot be opened is None, and the problem says why."""
    if written.port is None or (not written.port.number and not _is_socket(written.bind)):
        return None, (invalid(origin.at("port.number"), "a server needs a port number; it is not opened"),)
    kind = _kind(written, origin, settings)
    if isinstance(kind, Problem):
        return None, (kind,)
    tls: ServerTls | None = None
    if kind in {Kind.HTTPS, Kind.TLS} and written.tls is not None:
        found = _terminated(written.tls, origin.at("tls"), settings, http=kind is Kind.HTTPS)
        if isinstance(found, Problem):
            return None, (found,)
        tls = found
    server = Server(
        key=(gateway.meta.namespace, gateway.meta.name, index),
        kind=kind,
        port=written.port.number or 0,
        bind=written.bind or "",
        admits=_admissions(written.hosts, gateway.meta.namespace, settings.cluster_domain),
        origin=origin,
        port_name=written.port.name,
        tls=tls,
        grpc_web=written.port.protocol.upper() == "GRPC-WEB",
        age=age(gateway),
        https_redirect=kind is Kind.HTTP and written.tls is not None and bool(written.tls.https_redirect),
    )
    return server, _remarks(written, kind, origin)


def age(gateway: Gateway) -> Age:
    meta = gateway.meta
    return meta.created or _NO_AGE, meta.namespace, meta.name


def _terminated(tls: model.ServerTLSSettings, origin: Origin, settings: Settings, *, http: bool) -> ServerTls | Problem:
    if tls.mode is ServerTLSMode.ISTIO_MUTUAL:
        return istio_mutual(tls, settings, http=http)
    return server_tls(tls, origin, http=http)


def _kind(written: model.Server, origin: Origin, settings: Settings) -> Kind | Problem:
    assert written.port is not None
    spoken = protocol.of_declared(written.port.protocol) if written.port.protocol else None
    if spoken is None or spoken is Protocol.UDP:
        text = f'"{written.port.protocol}" is no protocol of a Gateway; the server is not opened'
        return invalid(origin.at("port.protocol"), text)
    if spoken.is_http:
        return Kind.HTTP
    if not spoken.is_tls and written.tls is None:
        return Kind.TCP
    return _tls_kind(written, spoken, origin, settings)


def _tls_kind(written: model.Server, spoken: Protocol, origin: Origin, settings: Settings) -> Kind | Problem:
    """TLS around HTTP or around bytes. Whoever writes `tls` beside TCP means TLS: it must never come out as plain."""
    if written.tls is None:
        return invalid(
            origin.at("tls"), f"a server for {written.port and written.port.protocol} needs tls; it is not opened"
        )
    if written.tls.mode is ServerTLSMode.AUTO_PASSTHROUGH:
        return not_supported(origin.at("tls.mode"), f"TLS mode {written.tls.mode}", "the server is not opened")
    if written.tls.mode is ServerTLSMode.ISTIO_MUTUAL and not settings.workload_certificates:
        text = "proxies of this mesh have no certificates (workloadCertificates): the server is not opened"
        return invalid(origin.at("tls.mode"), text)
    if not terminates(written.tls):
        return Kind.PASSTHROUGH
    return Kind.HTTPS if spoken is Protocol.HTTPS else Kind.TLS


def _remarks(written: model.Server, kind: Kind, origin: Origin) -> tuple[Problem, ...]:
    if written.tls is None or kind.by_sni:
        return ()
    if written.tls.mode is not None or written.tls.credential_name or written.tls.server_certificate:
        text = f"a server for {kind.name} does not do TLS; for that its protocol must be HTTPS or TLS"
        return (ineffective(origin.at("tls"), text),)
    return ()


def _is_socket(bind: str | None) -> bool:
    return bool(bind) and str(bind).startswith(UNIX)


def _admissions(written: tuple[str, ...], namespace: str, domain: str) -> tuple[Admission, ...]:
    """`host`, `*/host`, `./host` and `ns/host`; a host alone admits every namespace."""
    found: set[Admission] = set()
    for entry in written:
        where, slash, host = entry.rpartition("/")
        where = {"": EVERY_NAMESPACE, ".": namespace}.get(where, where) if slash else EVERY_NAMESPACE
        found.add(Admission(hosts.qualify(host, namespace, domain), where))
    return tuple(sorted(found))
