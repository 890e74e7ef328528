"""A new key, and the request for its certificate: a program of its own, which prints both and is gone.

The library that makes keys takes 13 MB of memory, for two milliseconds of work twice a day. So the agent does not have
it: it runs this, reads the two PEM blocks, and keeps them to itself.
"""

import sys

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


def mint() -> tuple[bytes, bytes]:
    """A key on P-256 (PKCS #8) and a request for it, in PEM. It names nobody: the control plane knows who asks."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, SHA256())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), request.public_bytes(Encoding.PEM)


if __name__ == "__main__":
    sys.stdout.buffer.write(b"".join(mint()))
