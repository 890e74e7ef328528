"""The certificate a caller holds already, as proof of who it is: how certificates are renewed.

TLS has checked that it leads to a root we trust and that the caller has its key. Whose it is, and whether it is a
workload's at all, is read here from the certificate itself: one name, of the one kind and in the one spelling that
we issue. A server's certificate, a CA's, or one with a second name beside ours proves nothing.
"""

from collections.abc import Collection
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from controlplane.base.identity import Identity, parse_identity
from controlplane.security.refusal import Refusal, Why


def holder_of(certificate: bytes, trust_domains: Collection[str], now: datetime) -> Identity | Refusal:
    """Whose certificate (DER) this is."""
    try:
        found = x509.load_der_x509_certificate(certificate)
        problem = _problem(found, now)
        names = list(_names(found))
    except Exception as error:  # noqa: BLE001  the parser has many kinds, and the input is an attacker's
        return _refused(f"cannot be read: {error}")
    if problem:
        return _refused(problem)
    if len(names) != 1 or not isinstance(names[0], x509.UniformResourceIdentifier):
        return _refused("must have one name, a SPIFFE id")
    identity = parse_identity(names[0].value)
    if identity is None:
        return _refused("does not name a workload")
    if identity.trust_domain not in trust_domains:
        return _refused(f"is of the trust domain {identity.trust_domain}, which is not ours")
    return identity


def _problem(certificate: x509.Certificate, now: datetime) -> str:
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        return f"is valid from {certificate.not_valid_before_utc} to {certificate.not_valid_after_utc}"
    if _is_authority(certificate):
        return "is an authority's"
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    return "" if ExtendedKeyUsageOID.CLIENT_AUTH in usage else "is not for clients"


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def _refused(problem: str) -> Refusal:
    return Refusal(Why.UNAUTHENTICATED, f"the certificate you showed {problem}")
