"""The node's certificates: one authority, and a name for each program that Kubernetes' own roles know."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from e2e.cluster.addresses import DOMAIN, KUBERNETES, NODE, NODE_NAME

_LIFETIME = timedelta(days=30)  # a node lives for minutes, or for a person's week
_SKEW = timedelta(hours=1)

_API_SERVER = "kubernetes"
_API_SERVER_NAMES = (
    _API_SERVER,
    f"{_API_SERVER}.default",
    f"{_API_SERVER}.default.svc",
    f"{_API_SERVER}.default.svc.{DOMAIN}",
    "localhost",
    "127.0.0.1",
    NODE,
    KUBERNETES,
)


class Subject(msgspec.Struct, frozen=True):
    """Whose certificate: Kubernetes reads the common name as the user, the organisation as the group."""

    name: str
    group: str = ""
    serves: tuple[str, ...] = ()  # names and addresses


SUBJECTS = {
    "admin": Subject("admin", "system:masters"),
    "apiserver": Subject("kube-apiserver", "system:masters", _API_SERVER_NAMES),  # as a client: the kubelet's
    "controller-manager": Subject("system:kube-controller-manager"),
    "scheduler": Subject("system:kube-scheduler"),
    "proxy": Subject("system:kube-proxy"),
    "kubelet": Subject(f"system:node:{NODE_NAME}", "system:nodes", (NODE_NAME, NODE)),
}


class Signed(msgspec.Struct, frozen=True):
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def authority(now: datetime) -> Signed:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _named(Subject("lateen-e2e"))
    builder = _builder(name, name, key, now)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs=True), critical=True)
    return Signed(builder.sign(key, SHA256()), key)


def issued(by: Signed, subject: Subject, now: datetime) -> Signed:
    """A certificate for a client; for a server, too, if it serves something."""
    key = ec.generate_private_key(ec.SECP256R1())
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if subject.serves else [])]
    builder = _builder(_named(subject), by.certificate.subject, key, now)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key())
    builder = builder.add_extension(issuer, critical=False)
    builder = builder.add_extension(_usage(signs=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    if subject.serves:
        builder = builder.add_extension(x509.SubjectAlternativeName(_alternatives(subject.serves)), critical=False)
    return Signed(builder.sign(by.key, SHA256()), key)


def write(folder: Path, now: datetime) -> None:
    """All of them, `NAME.crt` and `NAME.key`, with `ca` and the key pair that signs service accounts' tokens."""
    folder.mkdir(mode=0o700)
    root = authority(now)
    for name, signed in {"ca": root, **{name: issued(root, who, now) for name, who in SUBJECTS.items()}}.items():
        (folder / f"{name}.crt").write_bytes(signed.certificate.public_bytes(Encoding.PEM))
        _write_key(folder / f"{name}.key", signed.key)
    tokens = ec.generate_private_key(ec.SECP256R1())
    _write_key(folder / "tokens.key", tokens)
    (folder / "tokens.pub").write_bytes(
        tokens.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LIFETIME)
    )


def _named(subject: Subject) -> x509.Name:
    group = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, subject.group)] if subject.group else []
    return x509.Name([*group, x509.NameAttribute(NameOID.COMMON_NAME, subject.name)])


def _alternatives(names: Sequence[str]) -> list[x509.GeneralName]:
    return [x509.IPAddress(ip_address(name)) if _is_address(name) else x509.DNSName(name) for name in names]


def _is_address(name: str) -> bool:
    return name.replace(".", "").isdigit()


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
