"""Who may call: rules that judge a request, or a connection, before anything else sees it."""

import msgspec

from controlplane.model.problem import Origin


class Authorization(msgspec.Struct, frozen=True, cache_hash=True):
    """All that judges the calls of one workload."""

    origins: tuple[Origin, ...] = ()
