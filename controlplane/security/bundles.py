"""Where the trust bundle is told to workloads: before their first certificate, and whenever it changes."""

from typing import Protocol


class BundleWriter(Protocol):
    """One place workloads read the bundle from. `str()` of it says where, for people."""

    async def published(self) -> bytes | None:
        """What stands there now; None: nothing. Raises `keeping.StoreError`."""
        ...

    async def publish(self, bundle: bytes) -> None:
        """Puts this bundle (PEM) there. Called again after a failure. Raises `keeping.StoreError`."""
        ...
