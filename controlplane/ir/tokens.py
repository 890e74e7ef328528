"""Which tokens are believed, and what becomes of their claims."""

import msgspec

from controlplane.model.problem import Origin


class Tokens(msgspec.Struct, frozen=True, cache_hash=True):
    """All issuers that one workload believes."""

    origins: tuple[Origin, ...] = ()
