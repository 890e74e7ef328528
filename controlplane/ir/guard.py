"""What stands between a workload and its callers: who they must be, what they must show, what they may do."""

from enum import StrEnum

import msgspec

from controlplane.ir.authorization import Authorization
from controlplane.ir.tokens import Tokens
from controlplane.model.problem import Origin


class PeerMode(StrEnum):
    """What a workload's port takes from its callers."""

    DISABLE = "disable"  # plain text, or TLS of the application's own
    PERMISSIVE = "permissive"  # mutual TLS of the mesh, and all else
    STRICT = "strict"  # mutual TLS of the mesh alone


class Peers(msgspec.Struct, frozen=True):
    """Modes of a workload: of each port somebody spoke of, and of all others."""

    mode: PeerMode
    ports: tuple[tuple[int, PeerMode], ...] = ()  # sorted by port
    origins: tuple[Origin, ...] = ()

    def at(self, port: int) -> PeerMode:
        """The mode of one port of the workload."""
        return next((mode for number, mode in self.ports if number == port), self.mode)


class Guard(msgspec.Struct, frozen=True, cache_hash=True):
    """What judges a call, once its bytes are readable. Tokens are of HTTP alone."""

    tokens: Tokens | None = None
    authorization: Authorization | None = None

    @property
    def origins(self) -> tuple[Origin, ...]:
        """Whose rules these are."""
        tokens = self.tokens.origins if self.tokens is not None else ()
        return (*tokens, *(self.authorization.origins if self.authorization is not None else ()))

    @property
    def clusters(self) -> tuple[str, ...]:
        """Who else is asked about calls."""
        checks = self.authorization.checks if self.authorization is not None else ()
        authorizers = (check.authorizer.cluster for check in checks if check.authorizer is not None)
        return (*authorizers, *(self.tokens.clusters if self.tokens is not None else ()))


OPEN = Guard()


class WorkloadPolicy(msgspec.Struct, frozen=True):
    """Everything that holds for calls to one workload, or to a gateway."""

    peers: Peers
    http: Guard = OPEN
    tcp: Guard = OPEN


UNGUARDED = WorkloadPolicy(Peers(PeerMode.DISABLE))
