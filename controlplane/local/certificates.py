"""What certificates say, for people: names, times, who signed. Keys that lie beside them are never looked at."""

import warnings
from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning

_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
_END: Final = b"-----END CERTIFICATE-----"


class Certificate(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One. What is not known is empty: a report tells some of it only."""

    subject: tuple[str, ...] = ()  # SPIFFE, DNS and IP names; without one, its distinguished name
    issuer: str = ""
    serial: str = ""  # hexadecimal
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    sha256: str = ""  # of its DER, hexadecimal


def certificates(pem: bytes) -> tuple[Certificate, ...]:
    """All that stand in some PEM, in its order; what is none is left out."""
    return tuple(_read(pem))


def _read(pem: bytes) -> Iterator[Certificate]:
    for part in pem.split(_BEGIN)[1:]:
        body, end, _ = part.partition(_END)
        try:
            with warnings.catch_warnings():  # machines trust roots with serial numbers that are no longer allowed
                warnings.simplefilter("ignore", CryptographyDeprecationWarning)
                yield of(x509.load_pem_x509_certificate(_BEGIN + body + end))
        except ValueError:
            continue


def of(certificate: x509.Certificate) -> Certificate:
    """What one says."""
    return Certificate(
        subject=_names(certificate) or (certificate.subject.rfc4514_string(),),
        issuer=certificate.issuer.rfc4514_string(),
        serial=f"{certificate.serial_number:x}",
        valid_from=certificate.not_valid_before_utc,
        valid_until=certificate.not_valid_after_utc,
        sha256=sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
    )


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return ()
    kinds = (x509.UniformResourceIdentifier, x509.DNSName)
    addresses = map(str, found.get_values_for_type(x509.IPAddress))
    return (*(name for kind in kinds for name in found.get_values_for_type(kind)), *addresses)
