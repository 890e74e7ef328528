"""Secrets: certificates with their keys, and bundles that peers' certificates are checked against."""

from pathlib import PurePosixPath
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from controlplane.envoy import wire
from controlplane.ir import names
from controlplane.model.problem import Origin
from controlplane.snapshot.resource import Resource, resource
from controlplane.snapshot.types import SECRET


def encode_certificate(name: str, chain: bytes, key: bytes, origins: tuple[Origin, ...] = ()) -> Resource:
    """A certificate chain and its private key, both PEM."""
    message = secret_pb2.Secret(name=name)
    _set_data(message.tls_certificate.certificate_chain, chain)
    _set_data(message.tls_certificate.private_key, key)
    return _resource(message, origins)


def encode_bundle(name: str, roots: bytes, revoked: bytes = b"", origins: tuple[Origin, ...] = ()) -> Resource:
    """Trusted roots and a revocation list, both PEM."""
    message = secret_pb2.Secret(name=name)
    _set_data(message.validation_context.trusted_ca, roots)
    if revoked:
        _set_data(message.validation_context.crl, revoked)
    return _resource(message, origins)


def of_files(name: str, origins: tuple[Origin, ...] = ()) -> Resource | None:
    """The secret that `names.file_certificate_secret` or `names.file_ca_secret` named; None for any other name.

    The name says it all: whoever finds a reference to such a secret can make it.
    """
    if name.startswith(names.FILE_CERTIFICATE):
        return _file_certificate(name, *_paths(name, names.FILE_CERTIFICATE), origins)
    if name.startswith(names.FILE_CA):
        return _file_bundle(name, *_paths(name, names.FILE_CA), origins)
    return None


def _set_data(source: Any, data: bytes) -> None:
    """PEM is text, and a person who looks at a configuration can read it."""
    try:
        source.inline_string = data.decode()
    except UnicodeDecodeError:
        source.inline_bytes = data


def _paths(name: str, prefix: str) -> tuple[str, str]:
    first, _, second = name.removeprefix(prefix).partition("~")
    return first, second


def _file_certificate(name: str, chain: str, key: str, origins: tuple[Origin, ...]) -> Resource:
    message = secret_pb2.Secret(name=name)
    message.tls_certificate.certificate_chain.filename = chain
    message.tls_certificate.private_key.filename = key
    message.tls_certificate.watched_directory.CopyFrom(_folder(chain))
    return _resource(message, origins)


def _file_bundle(name: str, bundle: str, revoked: str, origins: tuple[Origin, ...]) -> Resource:
    message = secret_pb2.Secret(name=name)
    message.validation_context.trusted_ca.filename = bundle
    if revoked:
        message.validation_context.crl.filename = revoked
    message.validation_context.watched_directory.CopyFrom(_folder(bundle))
    return _resource(message, origins)


def _folder(file: str) -> Any:
    """Envoy watches a folder for moves: a renewed file is put there by renaming, as kubelet does."""
    return base_pb2.WatchedDirectory(path=str(PurePosixPath(file).parent))


def _resource(message: Any, origins: tuple[Origin, ...]) -> Resource:
    return resource(SECRET, message.name, wire.encoded(message), (), origins)
