"""Gateway: the ports a gateway proxy opens, and for whom."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from controlplane.model.meta import Meta
from controlplane.model.value import Mark, UInt32, Value, WireEnum


class ServerTLSMode(WireEnum):
    """How a gateway treats TLS."""

    PASSTHROUGH = "PASSTHROUGH", 0
    SIMPLE = "SIMPLE", 1
    MUTUAL = "MUTUAL", 2
    AUTO_PASSTHROUGH = "AUTO_PASSTHROUGH", 3
    ISTIO_MUTUAL = "ISTIO_MUTUAL", 4
    OPTIONAL_MUTUAL = "OPTIONAL_MUTUAL", 5


class TLSProtocol(WireEnum):
    """A version of TLS."""

    TLS_AUTO = "TLS_AUTO", 0
    TLSV1_0 = "TLSV1_0", 1
    TLSV1_1 = "TLSV1_1", 2
    TLSV1_2 = "TLSV1_2", 3
    TLSV1_3 = "TLSV1_3", 4


class Port(Value):
    """A port of a listener."""

    number: UInt32 | None = None  # Port number.
    protocol: str = ""  # HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP, TLS.
    name: str = ""  # Label of the port.
    target_port: UInt32 | None = None  # Deprecated, without effect.


class TLSCertificate(Value):
    """Files of one certificate."""

    server_certificate: str | None = None  # File with the certificate.
    private_key: str | None = None  # File with its key.
    ca_certificates: str | None = None  # File with authorities to trust.


class ServerTLSSettings(Value):
    """TLS from clients."""

    https_redirect: bool | None = None  # Answer plain HTTP with a redirect to HTTPS.
    mode: ServerTLSMode | None = None  # How TLS is treated; default PASSTHROUGH.
    server_certificate: str | None = None  # File with the server certificate.
    private_key: str | None = None  # File with its key.
    ca_certificates: str | None = None  # File with authorities for client certificates.
    ca_crl: str | None = None  # File with a certificate revocation list.
    credential_name: str | None = None  # Secret with the certificates, instead of files.
    credential_names: tuple[str, ...] = ()  # Up to two Secrets, for RSA and ECDSA.
    ca_cert_credential_name: str | None = None  # Secret or ConfigMap with authorities for client certificates.
    tls_certificates: tuple[TLSCertificate, ...] = ()  # Up to two certificates from files.
    subject_alt_names: tuple[str, ...] = ()  # Names a client certificate may carry.
    verify_certificate_spki: tuple[str, ...] = ()  # Base64 SHA-256 of allowed client keys.
    verify_certificate_hash: tuple[str, ...] = ()  # Hex SHA-256 of allowed client certificates.
    min_protocol_version: TLSProtocol | None = None  # Default TLSV1_2.
    max_protocol_version: TLSProtocol | None = None  # Default: the proxy's.
    cipher_suites: tuple[str, ...] = ()  # Default: the proxy's.
    ecdh_curves: tuple[str, ...] = ()  # Default: the proxy's.
    insecure_skip_verify: bool | None = None  # Do not verify client certificates.


class Server(Value):
    """One port and the hosts it serves. An invalid one is not opened."""

    invalid: Mark = False

    port: Port | None = None  # The port to open.
    bind: str | None = None  # Address or Unix socket to bind to; default all.
    hosts: tuple[str, ...] = ()  # Hosts served: [namespace/]name; "." = this namespace, "*" = all.
    tls: ServerTLSSettings | None = None  # TLS from clients.
    default_endpoint: str | None = None  # Without effect.
    name: str = ""  # Label of the server.


class GatewaySpec(Value):
    """The ports of gateway proxies."""

    servers: tuple[Server, ...] = ()  # The ports to open.
    selector: Mapping[str, str] = {}  # Labels of the gateway pods.


class Gateway(Value):
    """What gateway proxies listen on. An invalid object as a whole has no effect."""

    GROUP: ClassVar[str] = "networking.istio.io"
    KIND: ClassVar[str] = "Gateway"

    meta: Meta = msgspec.field(name="metadata")
    spec: GatewaySpec = msgspec.field(default_factory=GatewaySpec)
    invalid: Mark = False
