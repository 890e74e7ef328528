"""One bytes object for all streams that need the same response.

A change concerns hundreds of streams in the same state. The first one to need a response pays for the join; the others
find it here by its content. The nonce is part of the bytes, so it is a number of the response, not of the stream: it is
unique among all responses this process made, hence on every stream.
"""

from collections.abc import Callable, Container, Hashable, Sequence
from typing import Final

from controlplane.snapshot.resource import Resource
from controlplane.xds.protocol import wire
from controlplane.xds.protocol.commands import Response, Send

SPLIT_AT: Final = 3 * 1024 * 1024  # bytes of resources in one response; Envoy and proxies between cope with 4 MiB
CHUNK: Final = 1024 * 1024  # bytes of resources in one step of a first sync
_BUDGET: Final = 64 * 1024 * 1024  # bytes of responses kept for the next stream that needs them

Frames = Sequence[bytes]


def fitting(resources: list[Resource]) -> list[Resource]:
    """As many as one response holds, at least one."""
    size = 0
    for at, each in enumerate(resources):
        size += len(each.body) + len(each.name) + len(each.version) + 128
        if size > SPLIT_AT and at:
            return resources[:at]
    return resources


class Responses:
    """A bounded cache of responses by content, shared by all streams of a server."""

    def __init__(self, budget: int = _BUDGET) -> None:
        self._budget = budget
        self._kept: dict[Hashable, Send] = {}  # in order of last use
        self._bytes = 0
        self._serial = 0
        self.built = 0  # responses joined so far: what tests count

    def nonce(self) -> str:
        """A nonce no response of this process had before."""
        self._serial += 1
        return f"{self._serial:x}"

    def shared(self, key: Hashable, taken: Container[str], build: Callable[[], Send]) -> Send:
        """The response for `key`; another one if this stream still waits for the ACK of the first (`taken`)."""
        found = self._kept.pop(key, None)
        if found is None:
            found = build()
            self._bytes += len(found.payload)
        elif found.response.nonce in taken:
            self._kept[key] = found
            return build()
        self._kept[key] = found
        if self._bytes > self._budget:
            self._trim()
        return found

    def delta(
        self,
        type_url: str,
        resources: Sequence[Resource],
        removed: tuple[str, ...] = (),
        gone: tuple[str, ...] = (),
        taken: Container[str] = (),
    ) -> Send:
        """A shared delta response with these resources and removals."""
        key = (type_url, removed, gone, *[fact for each in resources for fact in (each.name, each.version)])

        def build() -> Send:
            frames = [wire.delta_frame(each) for each in resources]
            return self.delta_frames(type_url, frames, resources, removed, gone)

        return self.shared(key, taken, build)

    def delta_frames(
        self,
        type_url: str,
        frames: Frames,
        resources: Sequence[Resource],
        removed: tuple[str, ...] = (),
        gone: tuple[str, ...] = (),
    ) -> Send:
        """A delta response of its own, for one stream."""
        nonce = self.nonce()
        payload = wire.delta_response(type_url, nonce, frames, removed, gone)
        self.built += 1
        ack = wire.delta_ack(type_url, nonce)
        return Send(payload, _about(type_url, nonce, resources, removed, "", len(payload), ack))

    def sotw(self, type_url: str, resources: Sequence[Resource], version: str, taken: Container[str] = ()) -> Send:
        """A shared SotW response with exactly these resources."""
        key = ("sotw", type_url, version, *[fact for each in resources for fact in (each.name, each.version)])

        def build() -> Send:
            frames = [wire.sotw_frame(each) for each in resources]
            return self.sotw_frames(type_url, frames, version, resources)

        return self.shared(key, taken, build)

    def sotw_frames(
        self,
        type_url: str,
        frames: Frames,
        version: str,
        resources: Sequence[Resource],
        removed: tuple[str, ...] = (),
    ) -> Send:
        """A SotW response of its own, for one stream. `resources` and `removed`: what is new in it."""
        nonce = self.nonce()
        payload = wire.sotw_response(type_url, version, nonce, frames)
        self.built += 1
        return Send(payload, _about(type_url, nonce, resources, removed, version, len(payload), b""))

    def _trim(self) -> None:
        for key in tuple(self._kept):
            if self._bytes <= self._budget or len(self._kept) == 1:
                return
            self._bytes -= len(self._kept.pop(key).payload)


def _about(  # noqa: PLR0913, PLR0917 - the facts of one response
    type_url: str,
    nonce: str,
    resources: Sequence[Resource],
    removed: tuple[str, ...],
    version: str,
    size: int,
    ack: bytes,
) -> Response:
    names = tuple([each.name for each in resources])
    return Response(type_url, nonce, tuple(resources), names, removed, version, size, ack)
