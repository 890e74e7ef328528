"""A certificate authority: the certificate that signs, its key, what leads up to a root, and the roots to trust.

Self-signed, or an intermediate whose root lives elsewhere; both are this one value, so that nothing else asks which.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

ROOT_LIFETIME: Final = timedelta(days=3650)  # as Istio's
SMALLEST_RSA: Final = 2048  # bits
BACKDATED: Final = timedelta(minutes=2)  # so that a clock that is a little slow takes it at once


class Authority(msgspec.Struct, frozen=True):
    """`chain` leads from the signer towards a root, without both; `roots` are what everybody trusts."""

    certificate: x509.Certificate
    key: PrivateKey
    chain: tuple[x509.Certificate, ...]
    roots: tuple[x509.Certificate, ...]

    @property
    def bundle(self) -> bytes:
        """The roots as PEM, what proxies verify their peers against."""
        return pem(self.roots)


def pem(certificates: Sequence[x509.Certificate]) -> bytes:
    """Certificates one after the other."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def new_root(trust_domain: str, key: PrivateKey, *, now: datetime, serial: int) -> Authority:
    """A root that signs itself. The key comes from the caller: making one is not a pure function."""
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain[:64])])
    public = key.public_key()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(serial)
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + ROOT_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, SHA256())
    )
    return Authority(certificate, key, (), (certificate,))


def _usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def faults(authority: Authority, now: datetime) -> list[str]:
    """Why an authority cannot be used; nothing if it can. For what was plugged in: ours has none."""
    certificate = authority.certificate
    path = (("the signing certificate", certificate), *(("a certificate of its chain", c) for c in authority.chain))
    found = [words for what, one in path if (words := _untimely(what, one, now))]
    if not _may_sign(certificate):
        found.append("the signing certificate is no CA certificate (basicConstraints CA:TRUE, keyUsage keyCertSign)")
    if public_bytes(certificate.public_key()) != public_bytes(authority.key.public_key()):
        found.append("the key does not belong to the signing certificate")
    if isinstance(authority.key, rsa.RSAPrivateKey) and authority.key.key_size < SMALLEST_RSA:
        found.append(f"its RSA key has {authority.key.key_size} bits, less than {SMALLEST_RSA}")
    if not authority.roots:
        found.append("there is no root certificate")
    elif not roots_above(authority, authority.roots):
        found.append("the chain does not lead from the signing certificate to one of the root certificates")
    return found


def _untimely(what: str, certificate: x509.Certificate, now: datetime) -> str:
    if certificate.not_valid_after_utc <= now:
        return f"{what} expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    if certificate.not_valid_before_utc > now:
        return f"{what} is valid from {certificate.not_valid_before_utc:%Y-%m-%d} on"
    return ""


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return basic.ca
    return basic.ca and usage.key_cert_sign


def public_bytes(key: CertificatePublicKeyTypes) -> bytes:
    """A SubjectPublicKeyInfo, DER: what a key is known by, whoever certifies it."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def roots_above(authority: Authority, roots: Collection[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """Those of `roots` that its chain leads to: who trusts one of them trusts what it issues."""
    path = (authority.certificate, *authority.chain)
    if not all(_issued(lower, upper) for lower, upper in pairwise(path)):
        return ()
    return tuple(root for root in roots if path[-1] == root or _issued(path[-1], root))


def _issued(lower: x509.Certificate, upper: x509.Certificate) -> bool:
    try:
        lower.verify_directly_issued_by(upper)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
