"""TLS from clients, as Gateway servers and Sidecar ingress listeners ask for it.

Certificates come from Secrets, which a proxy gets by name and only from its own namespace, or from files on the
proxy's machine. What cannot be served is left closed: a listener never falls back to plain text.
"""

import msgspec

from controlplane.ir import names
from controlplane.ir.listener import ServerTls, ServerTlsMode
from controlplane.mesh.problems import invalid, not_supported
from controlplane.model.gateway import ServerTLSMode, ServerTLSSettings, TLSProtocol
from controlplane.model.problem import Origin, Problem
from controlplane.model.settings import MinProtocolVersion, Settings

HTTP_ALPN = ("h2", "http/1.1")

_MODES = {
    ServerTLSMode.SIMPLE: ServerTlsMode.SIMPLE,
    ServerTLSMode.MUTUAL: ServerTlsMode.MUTUAL,
    ServerTLSMode.OPTIONAL_MUTUAL: ServerTlsMode.OPTIONAL_MUTUAL,
}
_OLDEST = {
    MinProtocolVersion.TLS_AUTO: "TLSV1_2",
    MinProtocolVersion.TLSV1_2: "TLSV1_2",
    MinProtocolVersion.TLSV1_3: "TLSV1_3",
}
_VERSIONS = {
    TLSProtocol.TLSV1_0: "TLSV1_0",
    TLSProtocol.TLSV1_1: "TLSV1_1",
    TLSProtocol.TLSV1_2: "TLSV1_2",
    TLSProtocol.TLSV1_3: "TLSV1_3",
}


def terminates(tls: ServerTLSSettings) -> bool:
    """Whether TLS ends at the proxy; the mode left out means PASSTHROUGH."""
    return tls.mode not in {None, ServerTLSMode.PASSTHROUGH, ServerTLSMode.AUTO_PASSTHROUGH}


def server_tls(tls: ServerTLSSettings, origin: Origin, *, http: bool = True) -> ServerTls | Problem:
    """The TLS of a listener, or why there is none. `origin` is the field `tls`; `http`: that is spoken inside."""
    mode = _MODES.get(tls.mode) if tls.mode is not None else None
    if mode is None:
        return not_supported(origin.at("mode"), f"TLS mode {tls.mode}", "this port stays closed for these hosts")
    secrets = tls.credential_names or ((tls.credential_name,) if tls.credential_name else ())
    certificates = _files(tls)
    if not secrets and not certificates:
        return invalid(origin, "TLS needs credentialName, tlsCertificates or serverCertificate with privateKey")
    if len(secrets) > 2 or len(certificates) > 2:
        return invalid(origin, "at most two certificates, one RSA and one ECDSA, can be served")
    ca_secret, ca_file = _authorities(tls, secrets) if mode is not ServerTlsMode.SIMPLE else ("", "")
    if mode is not ServerTlsMode.SIMPLE and not (ca_secret or ca_file or tls.insecure_skip_verify):
        return invalid(
            origin, f"mode {tls.mode} needs caCertificates or a credential to check client certificates with"
        )
    return ServerTls(
        mode=mode,
        secrets=tuple(names.credential_secret(name) for name in secrets),
        ca_secret=ca_secret,
        certificates=() if secrets else certificates,
        ca_file=ca_file,
        crl_file=tls.ca_crl or "",
        subject_alt_names=tls.subject_alt_names,
        spki_pins=tls.verify_certificate_spki,
        hash_pins=tls.verify_certificate_hash,
        skip_verify=bool(tls.insecure_skip_verify),
        min_version=_version(tls.min_protocol_version) or "TLSV1_2",
        max_version=_version(tls.max_protocol_version),
        cipher_suites=tls.cipher_suites,
        curves=tls.ecdh_curves,
        alpn=HTTP_ALPN if http else (),
    )


def istio_mutual(tls: ServerTLSSettings, settings: Settings, *, http: bool) -> ServerTls:
    """Mutual TLS of the mesh as a Gateway asks for it: names that it lists are the only ones."""
    base = mesh_tls(settings, http=http)
    return msgspec.structs.replace(
        base,
        subject_alt_names=tls.subject_alt_names,
        trust_domains=() if tls.subject_alt_names else base.trust_domains,
        spki_pins=tls.verify_certificate_spki,
        hash_pins=tls.verify_certificate_hash,
        min_version=_version(tls.min_protocol_version) or base.min_version,
        max_version=_version(tls.max_protocol_version),
        cipher_suites=tls.cipher_suites,
        curves=tls.ecdh_curves,
    )


def mesh_tls(settings: Settings, *, http: bool) -> ServerTls:
    """Mutual TLS of the mesh: callers prove to be a workload of it, or of one that is trusted like it."""
    return ServerTls(
        ServerTlsMode.MESH,
        trust_domains=settings.trusted_domains,
        min_version=_OLDEST[settings.mesh_mtls.min_protocol_version],
        alpn=HTTP_ALPN if http else (),
    )


def _files(tls: ServerTLSSettings) -> tuple[tuple[str, str], ...]:
    if tls.tls_certificates:
        pairs = ((one.server_certificate or "", one.private_key or "") for one in tls.tls_certificates)
        return tuple((chain, key) for chain, key in pairs if chain and key)
    if tls.server_certificate and tls.private_key:
        return ((tls.server_certificate, tls.private_key),)
    return ()


def _authorities(tls: ServerTLSSettings, secrets: tuple[str, ...]) -> tuple[str, str]:
    """(secret, file) that client certificates are checked against."""
    if tls.ca_cert_credential_name:
        return names.credential_ca_secret(tls.ca_cert_credential_name), ""
    if tls.ca_certificates:
        return "", tls.ca_certificates
    in_files = next((one.ca_certificates for one in tls.tls_certificates if one.ca_certificates), "")
    if in_files:
        return "", in_files
    return (names.credential_ca_secret(secrets[0]), "") if secrets else ("", "")


def _version(version: TLSProtocol | None) -> str:
    return _VERSIONS.get(version, "") if version is not None else ""
