"""Who is at the other end of a stream, as the transport proved it.

TLS has checked that the certificate leads to a root we trust and that the caller has its key. Whose it is is read here,
from the certificate itself: one name, of the one kind that workloads have. A certificate with a second name beside it,
a server's or an authority's proves nothing, whatever the libraries below make of its names.
"""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

_PAST: Final = datetime.min.replace(tzinfo=UTC)


class Caller(msgspec.Struct, frozen=True):
    """The other end of a connection."""

    address: str  # "ipv4:10.0.0.7:41234", "unix:"
    identity: str = ""  # the name in its certificate; "" on the Unix socket, where file permissions are the proof
    expires: datetime | None = None  # end of its certificate

    @property
    def key(self) -> tuple[str, str]:
        """(address without the port, identity)."""
        return self.address.rpartition(":")[0], self.identity


def caller_of(context: Any) -> Caller:
    """From a gRPC context. A certificate that cannot be understood is one without a name, and over."""
    pem = (context.auth_context() or {}).get("x509_pem_cert", ())
    return Caller(context.peer(), *read_certificate(pem[0])) if pem else Caller(context.peer())


def read_certificate(pem: bytes) -> tuple[str, datetime]:
    """Whose a certificate is ("": nobody's) and when it ends."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        return _workload(certificate), certificate.not_valid_after_utc
    except Exception:  # noqa: BLE001  the parser has many kinds, and the input is an attacker's
        return "", _PAST


def _workload(certificate: x509.Certificate) -> str:
    extensions = {type(extension.value): extension.value for extension in certificate.extensions}
    basic, usage = extensions.get(x509.BasicConstraints), extensions.get(x509.ExtendedKeyUsage)
    if isinstance(basic, x509.BasicConstraints) and basic.ca:
        return ""
    if isinstance(usage, x509.ExtendedKeyUsage) and ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        return ""
    names = extensions.get(x509.SubjectAlternativeName)
    found = list(names) if isinstance(names, x509.SubjectAlternativeName) else []
    return found[0].value if len(found) == 1 and isinstance(found[0], x509.UniformResourceIdentifier) else ""
