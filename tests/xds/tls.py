"""A server that demands certificates, and those of its authority."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from controlplane.runtime.clock import SystemClock
from controlplane.snapshot.types import CLUSTER
from controlplane.xds.admission import MeshAdmission
from controlplane.xds.credentials import CertificateFiles, Certificates
from controlplane.xds.server import AdsServer, ServerSettings
from tests.tls import Signed, signed
from tests.xds.served import Client, MemoryProxies
from tests.xds.views import MemoryView, cluster

SPIFFE = "spiffe://cluster.local/ns/shop/sa/web"


class Generations:
    """Certificate files as kubelet lays them out: a folder per generation behind one symlink."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    @property
    def files(self) -> CertificateFiles:
        here = self.folder / "..data"
        return CertificateFiles(here / "cert.pem", here / "key.pem", here / "roots.pem")

    def write(self, certificate: bytes, key: bytes, roots: bytes) -> None:
        self.count += 1
        target = self.folder / f"generation-{self.count}"
        target.mkdir()
        for name, content in (("cert.pem", certificate), ("key.pem", key), ("roots.pem", roots)):
            (target / name).write_bytes(content)
        link = self.folder / "..next"
        link.symlink_to(target)
        link.rename(self.folder / "..data")


@asynccontextmanager
async def tls_served(
    generations: Generations,
    randomness: Callable[[], float] = lambda: 0.5,
    settings: ServerSettings | None = None,
) -> AsyncIterator[tuple[MemoryProxies, int, AdsServer]]:
    proxies = MemoryProxies(MemoryView([cluster("a")]))
    server = AdsServer(proxies, SystemClock(), randomness, settings=settings)
    admission = MeshAdmission(frozenset({"cluster.local"}))
    port = await server.listen_tcp("127.0.0.1", 0, Certificates(generations.files), admission)
    try:
        yield proxies, port, server
    finally:
        await server.stop()


async def connect(port: int, roots: Signed, client: Signed | None) -> Any:
    """The first answer of the server, or the status it ended with."""
    pair = (client.key_pem, client.pem) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(roots.pem, *pair)
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials, options=options) as channel:
        stream = Client(channel)
        try:
            await stream.send(CLUSTER)
            return await stream.read()
        except (AssertionError, grpc.aio.AioRpcError):
            return await stream.code()


ROOT, OTHER = signed("root"), signed("other root")
SERVER = signed("localhost", ROOT)
WEB = signed("web", ROOT, uri=SPIFFE)
