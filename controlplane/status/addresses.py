"""What the status of an Ingress says: where it is reached."""

from collections.abc import Mapping
from typing import Any

import msgspec

from controlplane.gatewayapi.ingress import GatewayAddress


class Addresses(msgspec.Struct, frozen=True):
    """Of the gateway."""

    entries: tuple[GatewayAddress, ...]

    def status(self, before: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """To write over `before`; None: what stands there says it. Fields of others stay."""
        stands = dict(before or {})
        balanced = stands.get("loadBalancer")
        balanced = dict(balanced) if isinstance(balanced, dict) else {}
        entries = msgspec.to_builtins(self.entries)
        if (balanced.get("ingress") or []) == list(entries):
            return None
        return {**stands, "loadBalancer": {**balanced, "ingress": list(entries)}}
