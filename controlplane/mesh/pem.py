"""Whether key material can be served at all, before a proxy is asked to.

An Envoy that cannot use a certificate refuses it, and its words reach whoever wrote the Secret late and by a detour.
What can be known of the bytes alone is found here and said at once. What Envoy refuses is refused, and little else:
nothing is judged by names, chains or time. (A certificate in place of a revocation list Envoy takes, and then revokes
nothing; that is refused here.)
"""

from datetime import datetime
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

_SMALLEST_RSA: Final = 2048  # bits; Envoy's
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


def pair_fault(chain: bytes, key: bytes) -> str:
    """Why a chain (leaf first) and a private key cannot be served; "" if they can."""
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        public: Any = leaf.public_key()
    except Exception:  # noqa: BLE001  the parser has many kinds, and the input is a user's
        return "its certificate cannot be read"
    if (fault := _kind_fault(public)) != "":
        return fault
    try:
        private: Any = load_pem_private_key(key, password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        return "its private key is encrypted, and nobody can be asked for the password"
    except Exception:  # noqa: BLE001  likewise
        return "its private key cannot be read"
    return "" if _der(private.public_key()) == _der(public) else "its private key is not that of its certificate"


def bundle_fault(roots: bytes, revoked: bytes) -> str:
    """Why authorities and a revocation list (or b"") cannot be used; "" if they can."""
    try:
        x509.load_pem_x509_certificates(roots)
    except Exception:  # noqa: BLE001  likewise
        return "its authorities cannot be read"
    if revoked:
        try:
            x509.load_pem_x509_crl(revoked)
        except Exception:  # noqa: BLE001  likewise
            return "its revocation list cannot be read"
    return ""


def end_of(chain: bytes) -> datetime:
    """When the first certificate of a chain that has no fault ends."""
    return x509.load_pem_x509_certificates(chain)[0].not_valid_after_utc


def _kind_fault(public: Any) -> str:
    if isinstance(public, rsa.RSAPublicKey) and public.key_size < _SMALLEST_RSA:
        return f"its RSA key has {public.key_size} bits, and proxies take {_SMALLEST_RSA} at least"
    if isinstance(public, ec.EllipticCurvePublicKey) and not isinstance(public.curve, _CURVES):
        return f"its key is on {public.curve.name}, which proxies do not take"
    if not isinstance(public, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        return "its key is of a kind that proxies do not take"
    return ""


def _der(public: Any) -> bytes:
    found: bytes = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return found
