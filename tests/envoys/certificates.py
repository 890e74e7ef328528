"""Certificates for tests: one root a process, leaves made when asked for."""

import atexit
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


class Pair(NamedTuple):
    """PEM, as Envoy and `ssl` read it."""

    certificate: str
    key: str


def root_certificate() -> str:
    """The one root all leaves chain to, PEM."""
    return _root()[0].public_bytes(Encoding.PEM).decode()


@cache
def leaf(*names: str) -> Pair:
    """A server and client certificate for DNS names and URIs; `leaf()` is for tests that do not look at names."""
    root, root_key = _root()
    key = ec.generate_private_key(ec.SECP256R1())
    sans = [
        x509.UniformResourceIdentifier(name) if "://" in name else x509.DNSName(name)
        for name in names or ("localhost",)
    ]
    common = names[0] if names and "://" not in names[0] else "localhost"
    certificate = (
        _unsigned(common, key, root.subject)
        .add_extension(x509.SubjectAlternativeName(sans), critical=False)
        .sign(root_key, SHA256())
    )
    return Pair(certificate.public_bytes(Encoding.PEM).decode(), _pem(key))


@cache
def identity(*uris: str, valid: timedelta = timedelta(days=2)) -> Pair:
    """A certificate of a workload of the mesh: made out to SPIFFE ids. `valid`: from an hour ago on, until then."""
    root, root_key = _root()
    key = ec.generate_private_key(ec.SECP256R1())
    sans = [x509.UniformResourceIdentifier(uri) for uri in uris]
    certificate = (
        _unsigned("", key, root.subject, valid)
        .add_extension(x509.SubjectAlternativeName(sans), critical=True)
        .sign(root_key, SHA256())
    )
    return Pair(certificate.public_bytes(Encoding.PEM).decode(), _pem(key))


def identity_file(*uris: str) -> Path:
    """`identity` in one private file."""
    return private_file(identity(*uris))


@cache
def leaf_file(*names: str) -> Path:
    """Certificate and key of `leaf` in one private file, for `ssl`, which reads no strings. Gone at exit."""
    return private_file(leaf(*names))


@cache
def private_file(pair: Pair) -> Path:
    """Both in one file that only we may read; gone at exit."""
    folder = Path(mkdtemp(prefix="lateen-leaf-"))
    atexit.register(rmtree, folder, ignore_errors=True)
    path = folder / "pair.pem"
    path.touch(mode=0o600)
    path.write_text("".join(pair))
    return path


@cache
def _root() -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test root")])
    ca = x509.BasicConstraints(ca=True, path_length=None)
    unsigned = _unsigned("test root", key, name).add_extension(ca, critical=True)
    return unsigned.sign(key, SHA256()), key


def _unsigned(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, valid: timedelta = timedelta(days=2)
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else []))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + valid)
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
