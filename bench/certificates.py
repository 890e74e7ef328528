"""A mesh's certificates for an hour: roots, a server for localhost, one client."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from controlplane.xds.credentials import CertificateFiles

LIFE = timedelta(days=1)


def write(folder: Path, client_identity: str) -> CertificateFiles:
    """`roots.pem`, `server.pem`, `server-key.pem`, `client.pem`, `client-key.pem`; the server's files."""
    root_key = ec.generate_private_key(ec.SECP256R1())
    root = _signed("root", root_key, None, root_key)
    (folder / "roots.pem").write_bytes(root.public_bytes(Encoding.PEM))
    names = {"server": x509.DNSName("localhost"), "client": x509.UniformResourceIdentifier(client_identity)}
    for name, alternative in names.items():
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _signed(name, key, root, root_key, alternative)
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / f"{name}-key.pem").write_bytes(pem)
    return CertificateFiles(folder / "server.pem", folder / "server-key.pem", folder / "roots.pem")


def _signed(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
    alternative: x509.GeneralName | None = None,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LIFE)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if alternative is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
    return builder.sign(issuer_key, SHA256())
