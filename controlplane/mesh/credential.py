"""What a gateway's `credentialName` refers to: a Secret of the gateway's own namespace.

`kubernetes.io/tls` Secrets have `tls.crt` and `tls.key`, and may have `ca.crt`; generic ones have `cert`, `key` and
`cacert`. The bundle for client certificates may also stand in a Secret of its own, named `<credentialName>-cacert`.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime

import msgspec

from controlplane.ir.listener import ServerTls
from controlplane.ir.names import CREDENTIAL, CREDENTIAL_CA_SUFFIX
from controlplane.mesh.pem import bundle_fault, end_of, pair_fault
from controlplane.mesh.servertls import server_tls
from controlplane.model import core
from controlplane.model.gateway import Gateway, ServerTLSSettings
from controlplane.model.ingress import Ingress
from controlplane.model.meta import origin_of
from controlplane.model.problem import Level, ObjectRef, Origin, Problem

_CHAIN_KEYS = (("tls.crt", "tls.key"), ("cert", "key"))
_BUNDLE_KEYS = ("ca.crt", "cacert")
_REVOKED_KEYS = ("ca.crl", "crl")
_PEM = b"-----BEGIN "
NO_SECRET = "there is no Secret"  # noqa: S105  (no secret: how a problem begins that who cannot read Secrets cannot know of)


class Credential(msgspec.Struct, frozen=True):
    """Key material, PEM. A bundle has no chain and no key."""

    origin: Origin
    chain: bytes = b""
    key: bytes = b""
    bundle: bytes = b""
    revoked: bytes = b""
    ends: datetime | None = None  # of the certificate

    def __repr__(self) -> str:
        return f"Credential({self.origin}, [redacted])"


def secret_names(sds_name: str) -> tuple[str, ...]:
    """Names of the Secrets that may hold what this SDS name asks for, the one to prefer first."""
    name = sds_name.removeprefix(CREDENTIAL)
    if not name.endswith(CREDENTIAL_CA_SUFFIX):
        return (name,)
    return (name, name.removesuffix(CREDENTIAL_CA_SUFFIX))


def asked_by(gateway: Gateway, sds_name: str) -> Iterator[Origin]:
    """The fields of a Gateway that name the Secret behind an SDS name: its other servers do without it."""
    for index, server in enumerate(gateway.spec.servers):
        if server.tls is None or server.invalid:
            continue
        origin = origin_of(gateway, f"spec.servers[{index}].tls")
        tls = server_tls(server.tls, origin)
        if isinstance(tls, ServerTls) and sds_name in {*tls.secrets, tls.ca_secret}:
            yield origin.at(_field(server.tls, sds_name, tls))


def _field(written: ServerTLSSettings, sds_name: str, tls: ServerTls) -> str:
    if sds_name not in tls.secrets:
        if written.ca_cert_credential_name:
            return "caCertCredentialName"
        return "credentialNames[0]" if written.credential_names else "credentialName"
    return f"credentialNames[{tls.secrets.index(sds_name)}]" if written.credential_names else "credentialName"


def credential(
    sds_name: str, namespace: str, secrets: Mapping[str, core.Secret], wanted_by: tuple[Origin, ...]
) -> tuple[Credential | None, tuple[Problem, ...]]:
    """What is to be served under `sds_name`, from the Secrets that exist, and what is wrong with them."""
    names = secret_names(sds_name)
    wants_bundle = len(names) > 1
    present = [secrets[name] for name in names if name in secrets]
    if not present:
        return None, tuple(_absent(names[-1], namespace, origin) for origin in wanted_by)
    faults: list[tuple[core.Secret, str]] = []
    for secret in present:
        found = _bundle(secret) if wants_bundle else _certificate(secret)
        if isinstance(found, Credential):
            return found, ()
        faults.append((secret, found))
    secret, fault = faults[-1]
    instead = "proxies go on with what they had of it, and without that connections fail"
    text = f"Secret {namespace}/{secret.meta.name}: {fault}; {instead}"
    origins = (Origin(ObjectRef("", "Secret", namespace, secret.meta.name), "data"), *wanted_by)
    return None, tuple(Problem("InvalidGatewayCredential", Level.ERROR, origin, text) for origin in origins)


def _absent(name: str, namespace: str, origin: Origin) -> Problem:
    """Whoever writes an Ingress expects its Secret beside it."""
    elsewhere = origin.ref.kind == Ingress.KIND and origin.ref.namespace != namespace
    where = f" (it is looked for beside the gateway, not in {origin.ref.namespace})" if elsewhere else ""
    text = f"{NO_SECRET} {namespace}/{name}{where}; connections that need it fail until there is one"
    return Problem("InvalidGatewayCredential", Level.ERROR, origin, text)


def _certificate(secret: core.Secret) -> Credential | str:
    """Or why there is none."""
    for chain, key in _CHAIN_KEYS:
        if (found := _pem(secret, chain)) and (private := _pem(secret, key)):
            fault = pair_fault(found, private)
            return fault or Credential(origin_of(secret), chain=found, key=private, ends=end_of(found))
    return f"it has no PEM under {' or '.join('+'.join(pair) for pair in _CHAIN_KEYS)}"


def _bundle(secret: core.Secret) -> Credential | str:
    """Or why there is none."""
    for key in _BUNDLE_KEYS:
        if found := _pem(secret, key):
            revoked = next((text for text in _all(secret, _REVOKED_KEYS) if text), b"")
            return bundle_fault(found, revoked) or Credential(origin_of(secret), bundle=found, revoked=revoked)
    return f"it has no PEM under {' or '.join(_BUNDLE_KEYS)}"


def _all(secret: core.Secret, keys: tuple[str, ...]) -> Iterator[bytes]:
    return (_pem(secret, key) for key in keys)


def _pem(secret: core.Secret, key: str) -> bytes:
    """The value of a key if it looks like PEM."""
    value = secret.data.get(key) or secret.string_data.get(key, "").encode()
    return value if _PEM in value else b""
