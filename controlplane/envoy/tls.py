"""TLS towards servers and towards clients.

Every certificate, key and bundle is a secret that Envoy asks for by name over its stream, those in files of the
proxy's machine too: a missing file then delays one secret instead of refusing a whole cluster or listener, and a file
that is replaced is read again. Two kinds come otherwise, because the key is no business of the control plane. The
proxy's own identity, and the roots of the mesh, lie in files that its agent keeps in the directory Envoy is started
in: relative paths, the same for every proxy. The machine's own authorities come with the bootstrap: only who starts an
Envoy knows where they lie. (`system_root_certs` is no way to them: Envoy takes it and verifies nothing.)
"""

from collections.abc import Iterable
from datetime import timedelta
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Final

from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2

from controlplane.envoy import source
from controlplane.envoy.any import packed
from controlplane.ir import names
from controlplane.ir.listener import ServerTls, ServerTlsMode
from controlplane.ir.policy import TlsMode, UpstreamTls

TLS_SOCKET: Final = "envoy.transport_sockets.tls"

SYSTEM_BUNDLE: Final = "system"

_SDS_PATIENCE: Final = timedelta(seconds=5)
_Versions = common_pb2.TlsParameters.TlsProtocol
_San = common_pb2.SubjectAltNameMatcher


def secret_config(name: str) -> Any:
    """An `SdsSecretConfig`: over the aggregated stream, or from the agent's file."""
    if name in names.IDENTITY_FILES:
        return secret_pb2.SdsSecretConfig(
            name=name, sds_config=source.file(names.IDENTITY_FILES[name], names.IDENTITY_FOLDER)
        )
    return secret_pb2.SdsSecretConfig(name=name, sds_config=source.ads(_SDS_PATIENCE))


def upstream_secrets(tls: UpstreamTls) -> tuple[str, str]:
    """(certificate, bundle): the secrets a client asks for, "" for none."""
    if tls.credential_name:
        own = names.credential_secret(tls.credential_name) if tls.mode is TlsMode.MUTUAL else ""
        return own, "" if tls.skip_verify else names.credential_ca_secret(tls.credential_name)
    own = names.file_certificate_secret(tls.client_certificate, tls.private_key) if tls.client_certificate else ""
    if tls.skip_verify or tls.ca_certificates in ("", SYSTEM_BUNDLE):
        return own, ""
    return own, names.file_ca_secret(tls.ca_certificates, tls.ca_crl)


def upstream_context(tls: UpstreamTls, *, sni: str, sans: Iterable[str], alpn: Iterable[str]) -> Any:
    """An `UpstreamTlsContext`. An empty `sni` leaves it to the request's host (auto_sni of the cluster)."""
    context = tls_pb2.UpstreamTlsContext(sni=sni)
    common = context.common_tls_context
    common.tls_params.tls_minimum_protocol_version = common_pb2.TlsParameters.TLSv1_2
    common.tls_params.tls_maximum_protocol_version = common_pb2.TlsParameters.TLSv1_3
    common.alpn_protocols.extend(alpn)
    certificate, bundle = upstream_secrets(tls)
    if certificate:
        common.tls_certificate_sds_secret_configs.append(secret_config(certificate))
    checks = _names_to_check(sans)
    if bundle:
        common.combined_validation_context.validation_context_sds_secret_config.CopyFrom(secret_config(bundle))
        common.combined_validation_context.default_validation_context.CopyFrom(checks)
    elif tls.ca_certificates == SYSTEM_BUNDLE and not tls.skip_verify:
        common.combined_validation_context.validation_context_sds_secret_config.name = names.SYSTEM_ROOTS
        common.combined_validation_context.default_validation_context.CopyFrom(checks)
    return context


def verifies(tls: UpstreamTls) -> bool:
    """Whether the server's certificate is checked at all."""
    return not tls.skip_verify and bool(upstream_secrets(tls)[1] or tls.ca_certificates == SYSTEM_BUNDLE)


def _names_to_check(sans: Iterable[str]) -> Any:
    checks = common_pb2.CertificateValidationContext()
    checks.match_typed_subject_alt_names.extend(map(exactly, sans))
    return checks


def exactly(name: str) -> Any:
    """A `SubjectAltNameMatcher` for one name."""
    matcher = _San(san_type=_san_type(name))
    matcher.matcher.exact = name
    return matcher


def anybody_of(trust_domain: str) -> Any:
    """One for every workload of a trust domain."""
    matcher = _San(san_type=_San.URI)
    matcher.matcher.prefix = f"spiffe://{trust_domain}/"
    return matcher


def _san_type(name: str) -> int:
    if "://" in name:
        kind: int = _San.URI
        return kind
    try:
        ip_address(name)
    except ValueError:
        kind = _San.DNS
    else:
        kind = _San.IP_ADDRESS
    return kind


def downstream_secrets(tls: ServerTls) -> tuple[tuple[str, ...], str]:
    """(certificates, bundle): the secrets a server asks for, "" for no bundle. Its own identity is none of them."""
    if tls.mode is ServerTlsMode.MESH:
        return (), ""
    own = (*tls.secrets, *(names.file_certificate_secret(chain, key) for chain, key in tls.certificates))
    if tls.mode is ServerTlsMode.SIMPLE or tls.skip_verify:
        return own, ""
    if tls.ca_file:
        return own, names.file_ca_secret(tls.ca_file, tls.crl_file)
    return own, tls.ca_secret


@lru_cache(maxsize=256)
def downstream_socket(tls: ServerTls) -> Any:
    """A `TransportSocket`. A sidecar's ports have the same, and so have sidecars."""
    return base_pb2.TransportSocket(name=TLS_SOCKET, typed_config=packed(downstream_context(tls)))


def downstream_context(tls: ServerTls) -> Any:
    """A `DownstreamTlsContext`."""
    context = tls_pb2.DownstreamTlsContext()
    context.require_client_certificate.value = tls.mode in (ServerTlsMode.MUTUAL, ServerTlsMode.MESH)
    common = context.common_tls_context
    _set_parameters(common.tls_params, tls)
    common.alpn_protocols.extend(tls.alpn)
    of_mesh = tls.mode is ServerTlsMode.MESH
    certificates, bundle = ((names.WORKLOAD_SECRET,), names.ROOT_SECRET) if of_mesh else downstream_secrets(tls)
    common.tls_certificate_sds_secret_configs.extend(map(secret_config, certificates))
    if tls.mode is not ServerTlsMode.SIMPLE:
        _set_client_checks(common, tls, bundle)
    return context


def _set_parameters(parameters: Any, tls: ServerTls) -> None:
    if tls.min_version:
        parameters.tls_minimum_protocol_version = _version(tls.min_version)
    if tls.max_version:
        parameters.tls_maximum_protocol_version = _version(tls.max_version)
    parameters.cipher_suites.extend(tls.cipher_suites)
    parameters.ecdh_curves.extend(tls.curves)


def _version(name: str) -> int:
    """From the API's "TLSV1_2"; Envoy writes "TLSv1_2"."""
    number: int = _Versions.Value(name.replace("TLSV", "TLSv"))
    return number


def _set_client_checks(common: Any, tls: ServerTls, bundle: str) -> None:
    checks = _names_to_check(tls.subject_alt_names)
    checks.match_typed_subject_alt_names.extend(map(anybody_of, tls.trust_domains))
    checks.verify_certificate_spki.extend(tls.spki_pins)
    checks.verify_certificate_hash.extend(tls.hash_pins)
    if tls.skip_verify:
        checks.trust_chain_verification = common_pb2.CertificateValidationContext.ACCEPT_UNTRUSTED
    if bundle:
        common.combined_validation_context.default_validation_context.CopyFrom(checks)
        common.combined_validation_context.validation_context_sds_secret_config.CopyFrom(secret_config(bundle))
    else:
        common.validation_context.CopyFrom(checks)
