"""Files as Istio's `cacerts`: a root, an intermediate, and the authority under it."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controlplane.security.authority import Authority, PrivateKey, pem
from tests.security.requests import NOW, root


class Plugged:
    """One authority, and the files it is plugged in by."""

    def __init__(
        self,
        folder: Path,
        *,
        ca: bool = True,
        life: timedelta = timedelta(days=30),
        top: Authority | None = None,
        key: PrivateKey | None = None,
        own_id: bytes | None = None,
        now: datetime = NOW,
    ) -> None:
        """`own_id`: what the signer calls its key, if that is not its SHA-1."""
        self.folder, self.top, self._now = folder, top or root(), now
        middle_key, key = ec.generate_private_key(ec.SECP256R1()), key or ec.generate_private_key(ec.SECP256R1())
        made = self._signed("middle", middle_key, self.top.certificate, ca=True, life=life)
        self.middle = made.sign(self.top.key, SHA256())
        made = self._signed("signer", key, self.middle, ca=ca, life=life)
        if own_id is not None:
            made = made.add_extension(x509.SubjectKeyIdentifier(own_id), critical=False)
        self.signer = made.sign(middle_key, SHA256())
        self.key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def _signed(
        self, name: str, key: PrivateKey, issuer: x509.Certificate, *, ca: bool, life: timedelta
    ) -> x509.CertificateBuilder:
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer.subject).serial_number(9)
        builder = builder.not_valid_before(self._now - timedelta(days=1)).not_valid_after(self._now + life)
        builder = builder.public_key(key.public_key())
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())  # type: ignore[arg-type]
        builder = builder.add_extension(signer, critical=False)
        return builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)

    def write(self, **changed: Any) -> Path:
        """`changed`: other contents by file name, `ca_key=b"..."`; None leaves a file out."""
        files: dict[str, bytes | None] = {
            "ca-cert.pem": pem((self.signer,)),
            "ca-key.pem": self.key,
            "root-cert.pem": pem((self.top.certificate,)),
            "cert-chain.pem": pem((self.signer, self.middle, self.top.certificate)),
        }
        files |= {key.replace("_", "-") + ".pem": value for key, value in changed.items()}
        for name, content in files.items():
            if content is not None:
                (self.folder / name).write_bytes(content)
        return self.folder
