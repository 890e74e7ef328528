"""What is said of key material without asking an Envoy is what an Envoy says."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.extensions.filters.network.echo.v3 import echo_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2

from controlplane.mesh.pem import bundle_fault, pair_fault
from tests.envoys.validate import validate
from tests.tls import signed

A, B = signed("a"), signed("b")


def made(key, how=SHA256, form=PrivateFormat.PKCS8, encryption=None):
    """(certificate, key) of any kind of key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(A.certificate.not_valid_before_utc)
    certificate = builder.not_valid_after(A.certificate.not_valid_after_utc).sign(key, how and how())
    pem = key.private_bytes(Encoding.PEM, form, encryption or NoEncryption())
    return certificate.public_bytes(Encoding.PEM), pem


def rsa_key(bits):
    return rsa.generate_private_key(65537, bits)


CASES = {
    "good": (A.pem, A.key_pem),
    "text before the blocks": (b"Bag Attributes\n  name: x\n" + A.pem, b"text\n" + A.key_pem),
    "carriage returns": (A.pem.replace(b"\n", b"\r\n"), A.key_pem.replace(b"\n", b"\r\n")),
    "a chain": (A.pem + B.pem, A.key_pem),
    "a chain, the leaf last": (B.pem + A.pem, A.key_pem),
    "RSA 2048": made(rsa_key(2048)),
    "RSA 2048, the old form": made(rsa_key(2048), form=PrivateFormat.TraditionalOpenSSL),
    "RSA 1024": made(rsa_key(1024)),
    "P-384": made(ec.generate_private_key(ec.SECP384R1())),
    "P-521": made(ec.generate_private_key(ec.SECP521R1())),
    "P-256, the old form": made(ec.generate_private_key(ec.SECP256R1()), form=PrivateFormat.TraditionalOpenSSL),
    "P-224": made(ec.generate_private_key(ec.SECP224R1())),
    "secp256k1": made(ec.generate_private_key(ec.SECP256K1())),
    "Ed25519": made(ed25519.Ed25519PrivateKey.generate(), how=None),
    "DSA": made(dsa.generate_private_key(2048)),
    "another's key": (A.pem, B.key_pem),
    "a key that is locked": made(rsa_key(2048), encryption=BestAvailableEncryption(b"x")),
    "no certificate": (A.key_pem, A.key_pem),
    "no key": (A.pem, A.pem),
    "a certificate that is cut": (A.pem[:200], A.key_pem),
    "a key that is cut": (A.pem, A.key_pem[:100]),
    "noise in a certificate": (A.pem.replace(b"M", b"N"), A.key_pem),
    "a second certificate that is noise": (A.pem + B.pem.replace(b"M", b"N", 3), A.key_pem),
}


def server(chain: bytes, key: bytes, roots: bytes = b"", revoked: bytes = b""):
    """A bootstrap with a listener that serves these."""
    bootstrap = bootstrap_pb2.Bootstrap()
    listener = bootstrap.static_resources.listeners.add(name="l")
    listener.address.socket_address.address, listener.address.socket_address.port_value = "127.0.0.1", 0
    chained = listener.filter_chains.add()
    chained.filters.add(name="envoy.filters.network.echo").typed_config.Pack(echo_pb2.Echo())
    context = tls_pb2.DownstreamTlsContext()
    pair = context.common_tls_context.tls_certificates.add()
    pair.certificate_chain.inline_bytes, pair.private_key.inline_bytes = chain, key
    if roots:
        context.common_tls_context.validation_context.trusted_ca.inline_bytes = roots
    if revoked:
        context.common_tls_context.validation_context.crl.inline_bytes = revoked
    chained.transport_socket.name = "envoy.transport_sockets.tls"
    chained.transport_socket.typed_config.Pack(context)
    return bootstrap


@pytest.mark.parametrize("case", CASES)
def test_a_pair_has_a_fault_if_and_only_if_envoy_refuses_it(case):
    refused = validate(server(*CASES[case]))
    fault = pair_fault(*CASES[case])
    assert bool(fault) == bool(refused), (fault, refused)


def revoking(signer):
    builder = x509.CertificateRevocationListBuilder().issuer_name(signer.certificate.subject)
    builder = builder.last_update(A.certificate.not_valid_before_utc).next_update(A.certificate.not_valid_after_utc)
    return builder.sign(signer.key, SHA256()).public_bytes(Encoding.PEM)


BUNDLES = {
    "one": (A.pem, b""),
    "two": (A.pem + B.pem, b""),
    "with a list": (A.pem, revoking(A)),
    "noise": (A.pem.replace(b"M", b"N"), b""),
    "a key": (A.key_pem, b""),
    "a list that is noise": (A.pem, revoking(A).replace(b"M", b"N")),
    "a bundle that is a list": (revoking(A), b""),
}


def test_a_list_that_revokes_nothing_is_none():
    """Envoy takes a certificate in its place."""
    assert validate(server(A.pem, A.key_pem, A.pem, B.pem)) == []
    assert bundle_fault(A.pem, B.pem) == "its revocation list cannot be read"


@pytest.mark.parametrize("case", BUNDLES)
def test_a_bundle_has_a_fault_if_and_only_if_envoy_refuses_it(case):
    refused = validate(server(A.pem, A.key_pem, *BUNDLES[case]))
    fault = bundle_fault(*BUNDLES[case])
    assert bool(fault) == bool(refused), (fault, refused)
