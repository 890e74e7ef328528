"""Everything of a laptop mesh that runs in this process: a control plane and the identities of what it serves."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from controlplane.app.control import open_control_plane
from controlplane.app.identity import IdentitySettings, LocalIdentity, open_local_identity
from controlplane.base.identity import Identity
from controlplane.local.ports import Laptop
from controlplane.local.statedir import ISSUER_KEYS, Misuse
from controlplane.model.meshconfig import decode_settings
from controlplane.runtime.tasks import Supervisor
from controlplane.security.keeping import AuthorityError, StoreError

# Where operating systems keep the authorities they trust: Debian, Red Hat, SUSE, Alpine and macOS.
_SYSTEM_ROOTS: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


class Identities(msgspec.Struct, frozen=True, eq=False):
    """See `local.ports.Identities`."""

    identity: LocalIdentity
    trust_domain: str

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.identity.service.port}"

    @property
    def server_name(self) -> str:
        return self.identity.service.server_name

    @property
    def bundle(self) -> Path:
        return self.identity.bundle

    def token(self, namespace: str, account: str) -> str:
        return self.identity.tokens.mint(Identity(self.trust_domain, namespace, account))


@asynccontextmanager
async def open_laptop(config: Mapping[str, Any], folder: Path, tasks: Supervisor) -> AsyncIterator[Laptop]:
    """See `local.ports.OpenLaptop`. Proxies' statistics stay on their admin sockets: their agents read them there."""
    settings = IdentitySettings(prometheus_port=0, settled=0.0, system_roots=system_roots())
    async with open_control_plane(config, None, folder.with_name(ISSUER_KEYS)) as plane:
        mesh, _ = decode_settings(config)
        try:
            async with open_local_identity(plane, mesh, settings, tasks, folder) as identity:
                yield Laptop(plane, Identities(identity, mesh.trust_domain), identity.service.authorities)
        except (AuthorityError, StoreError) as error:
            raise Misuse(str(error)) from error


def system_roots() -> str:
    """The machine's own authorities; "" where nobody knows them."""
    return next(filter(os.path.exists, _SYSTEM_ROOTS), "")
