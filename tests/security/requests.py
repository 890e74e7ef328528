"""Certificate signing requests, good ones and others, and what an issued certificate is held against."""

from base64 import encodebytes
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from controlplane.base.identity import Identity
from controlplane.security.authority import Authority, new_root
from controlplane.security.issuing import Issued, Lifetimes
from controlplane.security.keeping import encode
from controlplane.security.rotation import Roots

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
CALLER = Identity("cluster.local", "shop", "web")
KEY = ec.generate_private_key(ec.SECP256R1())


def root(serial: int = 7) -> Authority:
    return new_root("cluster.local", ec.generate_private_key(ec.SECP256R1()), now=NOW, serial=serial)


def csr(key=KEY, *names: x509.GeneralName, extensions=()) -> bytes:
    """One with these names and extensions, whatever it asks for."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


def forged() -> bytes:
    """One for a key that somebody saw and does not have: its signature is not made with it."""
    der = bytearray(x509.load_pem_x509_csr(csr()).public_bytes(Encoding.DER))
    der[-1] ^= 1
    return pem_of(bytes(der))


def pem_of(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE REQUEST-----\n" + encodebytes(der) + b"-----END CERTIFICATE REQUEST-----\n"


def public(key) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def assert_as_meant(
    issued: Issued, caller: Identity, authority: Authority, request: bytes, lifetimes: Lifetimes, now: datetime = NOW
) -> None:
    """Reads the certificate again and compares every part with what the profile allows."""
    leaf, *above = x509.load_pem_x509_certificates(issued.chain)
    assert authority.certificate not in authority.roots or above == []
    leaf.verify_directly_issued_by(authority.certificate)
    assert list(leaf.subject) == []
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical
    assert list(names.value) == [x509.UniformResourceIdentifier(caller.uri)]
    basic = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert not basic.value.ca
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign
    assert not usage.crl_sign
    extended = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(extended) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert len(leaf.extensions) == 5
    assert public(leaf.public_key()) == public(x509.load_pem_x509_csr(request).public_key())
    assert leaf.not_valid_before_utc >= authority.certificate.not_valid_before_utc
    assert leaf.not_valid_after_utc <= min(now + lifetimes.longest, authority.certificate.not_valid_after_utc)
    assert (issued.not_before, issued.not_after) == (leaf.not_valid_before_utc, leaf.not_valid_after_utc)
    assert 0 < leaf.serial_number < 2**128


def same_roots(one: Roots, other: Roots) -> bool:
    """Whether two states have the same step, certificates and keys."""
    return encode(one) == encode(other)
