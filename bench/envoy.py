"""A real Envoy beside the control plane, and what it costs."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from controlplane.envoy.bootstrap import LOG_OPTIONS
from controlplane.ir.names import IDENTITY_FOLDER
from controlplane.local.envoys import envoy_binary, is_ready
from controlplane.local.ports import BIND_ADDRESS
from controlplane.model.proxy import Proxy

ADDRESS = "127.213.0.7"  # what its listeners bind: nobody else's
PATIENCE = 120.0  # seconds
ALONE = ("--disable-hot-restart", "--concurrency", "1", "--log-level", "warning")


class Envoy:
    """A process that was started."""

    def __init__(self, process: asyncio.subprocess.Process, admin: Path) -> None:
        self._process = process
        self._admin = admin

    async def ready(self) -> None:
        """It has its first configuration."""
        async with asyncio.timeout(PATIENCE):
            while not await is_ready(self._admin):
                assert self._process.returncode is None, "Envoy left"
                await asyncio.sleep(0.1)

    def cpu(self) -> float:
        """Seconds, of all its threads, to the nanosecond: the kernel's ticks are too coarse for one change."""
        tasks = Path(f"/proc/{self._process.pid}/task")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9

    def memory(self) -> dict[str, float]:
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return {"Envoy RSS MB": pages * os.sysconf("SC_PAGE_SIZE") / 1024 / 1024}


@asynccontextmanager
async def running(folder: Path, port: int, proxy: Proxy) -> AsyncIterator[Envoy]:
    """One that gets everything from a port here; its listeners bind a loopback address.

    It is started in `folder`, where `identity` has the files of `bench.certificates`: as in a cluster they are for the
    control plane and for other proxies alike.
    """
    from controlplane.envoy.bootstrap import FILE, ProxyBootstrap, TlsServer, files  # noqa: PLC0415  half a second

    metadata = {
        "NAMESPACE": proxy.namespace,
        "NAME": proxy.name,
        "LABELS": dict(proxy.labels),
        "SERVICE_ACCOUNT": "client",
        "INSTANCE_IPS": proxy.ips[0],
        BIND_ADDRESS: ADDRESS,
    }
    identity = IDENTITY_FOLDER
    server = TlsServer(
        host="127.0.0.1",
        port=port,
        folder=identity,
        chain=f"{identity}/client.pem",
        key=f"{identity}/client-key.pem",
        roots=f"{identity}/roots.pem",
        server_name="localhost",
    )
    made = ProxyBootstrap(node_id=proxy.id, cluster="client", server=server, admin="admin.sock", metadata=metadata)
    for name, content in files(made, Path()).items():
        (folder / name).write_text(content)
    command = (str(envoy_binary()), "--config-path", FILE, *ALONE, *LOG_OPTIONS)
    process = await asyncio.create_subprocess_exec(*command, cwd=folder)
    try:
        yield Envoy(process, folder / "admin.sock")
    finally:
        process.kill()
        await process.wait()
