"""A control plane, and streams that need no socket: what is asked goes in as bytes, what is answered comes out so."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import grpc

from controlplane.app.control import ControlPlane
from controlplane.xds.proxies import Admission
from controlplane.xds.server import Kind


class Ended(Exception):  # noqa: N818  (of a stream, by the server)
    """The status is the argument."""


class Talk:
    """The context of one stream, as gRPC would hand it to the server."""

    def __init__(self, certificate: bytes, said: Sequence[bytes]) -> None:
        self.heard: list[bytes] = []
        self.status: Any = grpc.StatusCode.OK
        self._certificate = certificate
        self._said = iter(said)

    def auth_context(self) -> dict[str, Any]:
        return {"x509_pem_cert": [self._certificate]}

    def peer(self) -> str:
        return "ipv4:10.0.0.1:40000"

    async def read(self) -> Any:
        """Everything at once, and then it is done."""
        return next(self._said, grpc.aio.EOF)

    async def write(self, payload: bytes) -> None:
        self.heard.append(payload)

    async def abort(self, code: Any, text: str) -> None:
        self.status = code
        raise Ended(code, text)


async def talk(
    plane: ControlPlane, kind: Kind, admission: Admission, certificate: bytes, said: Sequence[bytes]
) -> Talk:
    """One stream from its beginning to its end."""
    one = Talk(certificate, said)
    with suppress(Ended):
        await plane.server._serve(kind, admission, one)
    return one
