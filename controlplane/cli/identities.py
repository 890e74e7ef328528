"""What `lateen serve --identity` gives out: certificates for the agents of workloads that somebody starts by hand."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from controlplane.app.control import ControlPlane
from controlplane.app.identity import IdentitySettings, LocalIdentity, open_local_identity
from controlplane.app.laptop import system_roots
from controlplane.cli.refusal import Refused
from controlplane.local.authority import token_action
from controlplane.local.statedir import Misuse
from controlplane.model.durations import parse_duration
from controlplane.model.meshconfig import decode_settings
from controlplane.runtime.tasks import Supervisor
from controlplane.runtime.unixhttp import Handler
from controlplane.security import plugged
from controlplane.security.issuing import STANDARD, Lifetimes
from controlplane.security.keeping import AuthorityError, StoreError

_SHORTEST: Final = timedelta(seconds=2)
_LONGEST: Final = timedelta(days=90)


class GivenOut(msgspec.Struct, frozen=True):
    """How, and by which authority."""

    settings: IdentitySettings
    folder: Path | None  # of the authority; None: in the mesh's own state


def given_out(
    xds: tuple[str, int], https: tuple[str, int], folder: Path | None, server_name: str, lifetime: str
) -> GivenOut:
    """From what the command line says. Raises Refused."""
    lasts = _lifetime(lifetime)
    settings = IdentitySettings(
        host=https[0],
        port=https[1],
        xds_host=xds[0],
        xds_port=xds[1],
        names=(server_name,),
        lifetimes=Lifetimes(default=lasts, shortest=min(STANDARD.shortest, lasts), longest=lasts),
        # Who is not back after half a certificate's life has to come for another one anyway.
        settled=min(IdentitySettings().settled, lasts.total_seconds() / 2),
        system_roots=system_roots(),
    )
    return GivenOut(settings, folder)


def _lifetime(text: str) -> timedelta:
    try:
        lasts = parse_duration(text)
    except ValueError as error:
        raise Refused(f"--certificate-lifetime {text}: {error}") from error
    if not _SHORTEST <= lasts <= _LONGEST:
        raise Refused(f"--certificate-lifetime {text}: from {_SHORTEST.seconds} s to {_LONGEST.days} days")
    return lasts


@asynccontextmanager
async def giving_out(
    what: GivenOut | None, control: ControlPlane, config: Mapping[str, Any], tasks: Supervisor, own: Path
) -> AsyncIterator[LocalIdentity | None]:
    """While entered, if anything is given out. `own`: where an authority is kept that nobody named. Raises Misuse."""
    if what is None:
        yield None
        return
    mesh, _ = decode_settings(config)
    named = what.folder or own
    foreign = named if any((named / name).exists() for name in plugged.FILES) else None
    folder = own if foreign is not None else named
    try:
        async with open_local_identity(control, mesh, what.settings, tasks, folder, foreign) as found:
            yield found
    except (AuthorityError, StoreError) as error:
        raise Misuse(str(error)) from error


def tokens(identity: LocalIdentity | None, config: Mapping[str, Any]) -> Mapping[str, Handler]:
    """`lateen ca token`."""
    return {} if identity is None else token_action(identity.tokens, decode_settings(config)[0].trust_domain)
