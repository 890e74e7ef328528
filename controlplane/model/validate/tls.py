"""TLS settings: which fields a mode needs, and which it cannot use."""

import base64
import binascii
from typing import Final

from controlplane.model.destinationrule import ClientTLSMode, ClientTLSSettings
from controlplane.model.gateway import ServerTLSMode, ServerTLSSettings, TLSProtocol
from controlplane.model.validate.common import attribute, each, is_fqdn, required, unique
from controlplane.model.validate.findings import Findings

# What BoringSSL, and so Envoy, can be told to use.
CIPHER_SUITES: Final = frozenset(
    {
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-PSK-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-SHA",
        "ECDHE-RSA-AES128-SHA",
        "ECDHE-PSK-AES128-CBC-SHA",
        "ECDHE-ECDSA-AES256-SHA",
        "ECDHE-RSA-AES256-SHA",
        "ECDHE-PSK-AES256-CBC-SHA",
        "AES128-GCM-SHA256",
        "AES256-GCM-SHA384",
        "AES128-SHA",
        "AES256-SHA",
        "PSK-AES128-CBC-SHA",
        "PSK-AES256-CBC-SHA",
        "DES-CBC3-SHA",
    }
)
ECDH_CURVES: Final = frozenset({"P-256", "P-384", "P-521", "X25519", "X25519MLKEM768"})
MAX_CERTIFICATES: Final = 2  # one RSA, one ECDSA
_SHA256_BYTES: Final = 32


def check_client_tls(found: Findings, path: str, tls: ClientTLSSettings) -> None:
    """TLS towards a destination."""
    files = bool(tls.client_certificate or tls.private_key or tls.ca_certificates)
    if tls.credential_name and files:
        found.error("InvalidTLS", path, "credentialName excludes clientCertificate, privateKey and caCertificates")
    elif tls.mode is ClientTLSMode.ISTIO_MUTUAL and (files or tls.credential_name or tls.insecure_skip_verify):
        found.error(
            "InvalidTLS", path, "ISTIO_MUTUAL uses the mesh's certificates: remove certificates and verification"
        )
    elif tls.mode is ClientTLSMode.MUTUAL and not tls.credential_name:
        for field, value in (("clientCertificate", tls.client_certificate), ("privateKey", tls.private_key)):
            required(found, f"{path}.{field}", value, why=" with mode MUTUAL, unless credentialName is set")
    if tls.insecure_skip_verify and (tls.ca_certificates or tls.subject_alt_names):
        found.error(
            "InvalidTLS",
            path,
            "insecureSkipVerify excludes caCertificates and subjectAltNames: they would not be looked at",
        )
    if tls.ca_crl and not tls.ca_certificates:
        message = "a revocation list goes with caCertificates, or into the Secret of credentialName as ca.crl"
        found.error("InvalidTLS", f"{path}.caCrl", message)
    _check_unused(found, path, tls)
    if tls.sni and not is_fqdn(tls.sni):
        found.error("InvalidHost", f"{path}.sni", f'"{tls.sni}" is not a host name')
    each(found, f"{path}.subjectAltNames", tls.subject_alt_names, _check_not_empty)


def _check_unused(found: Findings, path: str, tls: ClientTLSSettings) -> None:
    """Fields the mode does not look at."""
    plain = tls.mode in {None, ClientTLSMode.DISABLE}
    unused = _OF_TLS if plain else ("clientCertificate", "privateKey") if tls.mode is ClientTLSMode.SIMPLE else ()
    for field in unused:
        if getattr(tls, attribute(field)) not in (None, "", (), False):
            says = "calls are in plain text: set mode" if plain else "mode SIMPLE shows no certificate; use MUTUAL"
            found.warn("NoEffect", f"{path}.{field}", says)


_OF_TLS: Final = (
    "clientCertificate",
    "privateKey",
    "caCertificates",
    "credentialName",
    "subjectAltNames",
    "sni",
    "insecureSkipVerify",
)


def check_server_tls(found: Findings, path: str, tls: ServerTLSSettings) -> None:
    """TLS from clients."""
    _check_server_certificates(found, path, tls)
    _check_client_authorities(found, path, tls)
    _check_server_parameters(found, path, tls)
    each(found, f"{path}.verifyCertificateSpki", tls.verify_certificate_spki, _check_spki)
    each(found, f"{path}.verifyCertificateHash", tls.verify_certificate_hash, _check_hash)
    each(found, f"{path}.subjectAltNames", tls.subject_alt_names, _check_not_empty)


_TERMINATING: Final = frozenset({ServerTLSMode.SIMPLE, ServerTLSMode.MUTUAL, ServerTLSMode.OPTIONAL_MUTUAL})


def _check_server_certificates(found: Findings, path: str, tls: ServerTLSSettings) -> None:
    families = {
        "serverCertificate and privateKey": bool(tls.server_certificate or tls.private_key),
        "tlsCertificates": bool(tls.tls_certificates),
        "credentialName": bool(tls.credential_name),
        "credentialNames": bool(tls.credential_names),
    }
    given = [name for name, there in families.items() if there]
    if len(given) > 1:
        found.error("InvalidTLS", path, f"{' and '.join(given)} exclude each other; keep one")
    elif tls.mode in _TERMINATING and not given:
        found.error("InvalidTLS", path, f"mode {tls.mode} needs a certificate: one of {', '.join(families)}")
    elif tls.mode is ServerTLSMode.ISTIO_MUTUAL and given:
        found.error("InvalidTLS", path, f"ISTIO_MUTUAL uses the mesh's certificates: remove {given[0]}")
    elif tls.mode in {None, ServerTLSMode.PASSTHROUGH, ServerTLSMode.AUTO_PASSTHROUGH} and given:
        mode = f"mode {tls.mode}" if tls.mode else "without a mode TLS is passed through; PASSTHROUGH"
        found.warn("NoEffect", path, f"{mode} does not terminate TLS: {given[0]} has no effect")
    if families["serverCertificate and privateKey"]:
        required(found, f"{path}.serverCertificate", tls.server_certificate, why=" beside privateKey")
        required(found, f"{path}.privateKey", tls.private_key, why=" beside serverCertificate")
    for field, names in (("credentialNames", tls.credential_names), ("tlsCertificates", tls.tls_certificates)):
        if len(names) > MAX_CERTIFICATES:
            found.error("InvalidTLS", f"{path}.{field}", f"has {len(names)} entries; at most {MAX_CERTIFICATES}")
    for i, certificate in enumerate(tls.tls_certificates):
        at = f"{path}.tlsCertificates[{i}]"
        required(found, f"{at}.serverCertificate", certificate.server_certificate)
        required(found, f"{at}.privateKey", certificate.private_key)


_OF_CLIENTS: Final = (
    "caCertificates",
    "caCrl",
    "caCertCredentialName",
    "subjectAltNames",
    "verifyCertificateSpki",
    "verifyCertificateHash",
    "insecureSkipVerify",
)


def _check_client_authorities(found: Findings, path: str, tls: ServerTLSSettings) -> None:
    if tls.mode is ServerTLSMode.SIMPLE:
        for field in _OF_CLIENTS:
            if getattr(tls, attribute(field)) not in (None, "", (), False):
                found.warn("NoEffect", f"{path}.{field}", "mode SIMPLE asks clients for no certificate; use MUTUAL")
    if tls.mode not in {ServerTLSMode.MUTUAL, ServerTLSMode.OPTIONAL_MUTUAL}:
        return
    files = tls.server_certificate or tls.tls_certificates
    in_files = tls.ca_certificates or any(one.ca_certificates for one in tls.tls_certificates)
    authorities = in_files or tls.ca_cert_credential_name
    if tls.ca_crl and not in_files:
        message = "a revocation list goes with caCertificates, or into the Secret of the authorities as ca.crl"
        found.error("InvalidTLS", f"{path}.caCrl", message)
    if files and not authorities and not tls.insecure_skip_verify:
        found.error(
            "InvalidTLS", path, f"mode {tls.mode} needs caCertificates or caCertCredentialName to verify clients with"
        )
    if tls.ca_certificates and tls.ca_cert_credential_name:
        found.error("InvalidTLS", path, "caCertificates and caCertCredentialName exclude each other; keep one")


def _check_server_parameters(found: Findings, path: str, tls: ServerTLSSettings) -> None:
    low = tls.min_protocol_version or TLSProtocol.TLS_AUTO
    low = TLSProtocol.TLSV1_2 if low is TLSProtocol.TLS_AUTO else low
    high = tls.max_protocol_version
    if high is not None and 0 < high.number < low.number:
        found.error("InvalidTLS", f"{path}.maxProtocolVersion", f"{high} is below minProtocolVersion {low}")
    unique(found, f"{path}.cipherSuites", tls.cipher_suites)
    for i, suite in enumerate(tls.cipher_suites):
        if suite not in CIPHER_SUITES:
            found.error("InvalidTLS", f"{path}.cipherSuites[{i}]", f'Envoy does not know the cipher suite "{suite}"')
    unique(found, f"{path}.ecdhCurves", tls.ecdh_curves)
    for i, curve in enumerate(tls.ecdh_curves):
        if curve not in ECDH_CURVES:
            found.error("InvalidTLS", f"{path}.ecdhCurves[{i}]", f'Envoy does not know the curve "{curve}"')


def _check_not_empty(found: Findings, path: str, name: str) -> None:
    if not name:
        found.error("InvalidValue", path, "must not be empty")


def _check_spki(found: Findings, path: str, text: str) -> None:
    try:
        good = len(base64.b64decode(text, validate=True)) == _SHA256_BYTES
    except (binascii.Error, ValueError):
        good = False
    if not good:
        found.error("InvalidTLS", path, "must be the base64 of a SHA-256 (44 characters)")


def _check_hash(found: Findings, path: str, text: str) -> None:
    digits = text.replace(":", "")
    if len(digits) != 2 * _SHA256_BYTES or any(c not in "0123456789abcdefABCDEF" for c in digits):
        found.error("InvalidTLS", path, "must be a SHA-256 in hexadecimal (64 digits, colons allowed)")
