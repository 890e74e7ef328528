"""Makes a certificate for shop.example.com and prints it as the Secret the Ingress asks for.

    python certificate.py > certificate.yaml

The key is made anew each time and belongs in no repository. Needs the `cryptography` package (Lateen brings it).
"""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "shop.example.com"


def main() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=10))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    print("apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls")
    print("metadata: {name: shop-certificate, namespace: istio-system}\nstringData:")
    for file, pem in (("tls.crt", certificate.public_bytes(serialization.Encoding.PEM)), ("tls.key", private)):
        print(f"  {file}: |")
        print("".join(f"    {line}\n" for line in pem.decode().splitlines()), end="")


main()
