"""What a certificate signing request may say: which key, and nothing else.

Names, lifetimes and extensions a CSR asks for are not looked at. They are not even errors: Istio's agents put their own
SPIFFE id into theirs, and a workload that asks for another's gets a certificate in its own name.
"""

from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from controlplane.security.authority import SMALLEST_RSA
from controlplane.security.refusal import Refusal, Why

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

LARGEST: Final = 16 * 1024  # bytes; one with a key of 4,096 bits and fifty names is 4 KiB
LARGEST_RSA: Final = 4096  # above that a verification costs the server more than the caller
_EXPONENT: Final = 65537
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)  # what every Envoy takes
_BEGIN: Final = (b"-----BEGIN CERTIFICATE REQUEST-----", b"-----BEGIN NEW CERTIFICATE REQUEST-----")


def requested_key(csr: bytes) -> PublicKey | Refusal:
    """The key a CSR (PEM) is for, if whoever made it holds the other half."""
    if len(csr) > LARGEST:
        return Refusal(Why.MALFORMED, f"a request has at most {LARGEST} bytes, this one has {len(csr)}")
    if not csr.lstrip().startswith(_BEGIN) or csr.count(b"-----BEGIN") != 1:
        return Refusal(Why.MALFORMED, "one certificate request in PEM was expected")
    try:
        request = x509.load_pem_x509_csr(csr)
        key = request.public_key()
    except Exception as error:  # noqa: BLE001  the parser has many kinds, and the input is an attacker's
        return Refusal(Why.MALFORMED, f"not a certificate request: {error}")
    if (refused := _refused_key(key)) is not None:
        return refused
    try:
        proven = request.is_signature_valid
    except Exception:  # noqa: BLE001  likewise
        proven = False
    if not proven:
        return Refusal(Why.UNPROVEN, "the request is not signed with the key it is for")
    assert isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
    return key


def _refused_key(key: object) -> Refusal | None:
    """Before its signature is looked at: a huge key makes that expensive."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        if isinstance(key.curve, _CURVES):
            return None
        return Refusal(Why.KEY, f"keys on {key.curve.name} are not issued for: take P-256 or P-384")
    if not isinstance(key, rsa.RSAPublicKey):
        return Refusal(Why.KEY, "keys are EC (P-256, P-384) or RSA")
    if not SMALLEST_RSA <= key.key_size <= LARGEST_RSA:
        return Refusal(Why.KEY, f"RSA keys have {SMALLEST_RSA} to {LARGEST_RSA} bits, this one has {key.key_size}")
    if key.public_numbers().e != _EXPONENT:
        return Refusal(Why.KEY, f"RSA keys have the exponent {_EXPONENT}")
    return None
