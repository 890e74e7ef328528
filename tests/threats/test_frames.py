"""A whole mesh, started as its user would, and everything that is no protocol sent to each of its ports.

From a stranger: handshakes that are none, certificates of another mesh's. From a workload with a certificate of this
mesh: frames of HTTP/2, millions of them. Meanwhile proxies that are connected get what changes, and afterwards nothing
has ended, grown or complained, and the next proxy is served.

Frames count when the server has read them: it acknowledges settings in order, and each batch ends with some.
"""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from http.client import HTTPSConnection
from pathlib import Path
from random import Random  # noqa: TID251  the same frames for the same seed
from typing import Final

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controlplane.snapshot.types import CLUSTER
from tests.local.meshes import Up, lay_out
from tests.security.requests import csr
from tests.threats.frames import ACK, DATA, HEADERS, MARK, PREFACE, SETTINGS, Frames, mutate, settings_in
from tests.threats.listening import Listening
from tests.threats.test_ports import STRANGER, Mesh, Process, any_server, bodies_of, pair_of
from tests.xds.served import Client

SEED: Final = 1848
AT_ONCE: Final = 6  # connections
PATIENCE: Final = 30.0  # seconds until who does not answer hangs
ENDED: Final = (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)  # however the system puts it
# Seconds until a call through Envoy is as a file says, on a machine that is flooded: beside other tests, and alone.
CHANGE: Final = (15, 5)
GROWTH: Final = 32 * 1024  # KiB, however many frames came: of ten million, each may leave three bytes
LOG: Final = 2**20  # bytes that the control plane says about all of it
PROXIES: Final = 3
VIRTUAL_SERVICE: Final = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: flooded, namespace: istio-demo}}
spec:
  hosts: [bill-service]
  http:
  - fault: {{abort: {{httpStatus: {status}, percentage: {{value: 100}}}}}}
    route: [{{destination: {{host: bill-service}}}}]
"""


class Target:
    """A mesh, and what there was of it before anything was sent."""

    def __init__(self, up: Up) -> None:
        self.up, self.mesh = up, Mesh(up)
        ours = [one for one in self.mesh.sockets if self.mesh.processes[one.pid].kind != "application"]
        asked = {one: _is_https(one) for one in self.mesh.of("control plane")}
        self.identities = next(one for one, https in asked.items() if https)
        self.xds = next(one for one, https in asked.items() if not https)
        self.others = sorted(one for one in ours if one not in asked)
        self.since = time.monotonic()

    def server_name(self) -> str:
        """What proxies hold the control plane's certificate against."""
        bootstrap = json.loads((self.mesh.agent.home / "bootstrap.json").read_text())
        xds = bootstrap["staticResources"]["clusters"][0]["transportSocket"]["typedConfig"]
        name: str = xds["sni"]
        return name

    def connected(self) -> list[bool]:
        """Of each stream there is, whether it was there before."""
        gone_by = time.monotonic() - self.since
        return [each["connected_seconds"] > gone_by for each in self.up.ask("/proxies")]

    def resident(self) -> dict[int, int]:
        """KiB of our own processes."""
        ours = [pid for pid, one in self.mesh.processes.items() if one.kind in {"control plane", "agent"}]
        return {pid: _resident(pid) for pid in ours}

    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self.up.process.pid}/fd").iterdir()))

    def complaints(self) -> list[str]:
        """Lines of any log that tell of a fault of ours; what gRPC has to say of its callers is none."""
        logs = [self.up.output, *(self.up.directory / ".lateen" / "logs").glob("*.log")]
        lines = [line for one in logs for line in one.read_text(errors="replace").splitlines()]
        bad = [line for line in lines if "Traceback" in line or '"level": "error"' in line or "[critical]" in line]
        return [line for line in bad if '"logger": "grpc._cython.cygrpc"' not in line]


def _is_https(where: Listening) -> bool:
    with closing(_https(where)) as one, suppress(OSError):
        one.request("GET", "/healthz/live")
        return one.getresponse().status == 200
    return False


def _https(where: Listening) -> HTTPSConnection:
    return HTTPSConnection(where.address, where.port, timeout=PATIENCE, context=any_server())


def _resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


# A workload of the mesh


class Flood:
    """Frames from a workload of the mesh."""

    def __init__(self, where: Listening, sender: Process) -> None:
        self._where = where
        self._context = _http2(pair_of(sender))
        self._node: str = dict(bodies_of(sender))["/v1/reports"]["node"]
        self._numbers = iter(range(2**31))
        self.read = self.connections = self.answers = 0
        self.seconds = 0.0

    async def run(self, frames: int) -> None:
        """Until the server has read so many more."""
        goal, began = self.read + frames, time.monotonic()

        async def some() -> None:
            while self.read < goal:
                await self._connection(Random(SEED + next(self._numbers)))

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(some())
        self.seconds += time.monotonic() - began

    def __str__(self) -> str:
        rate = self.read / self.seconds
        return (
            f"{self.read:,} frames on {self.connections:,} connections, {rate:,.0f} a second, {self.answers:,} answers"
        )

    async def _connection(self, random: Random) -> None:
        """Tame batches, in a hurry or not; then something wild, and more of the same if that was not the end."""
        frames, pause = Frames(random, self._node), random.choice((0.0, 0.05))
        many = random.choice((10, 100)) if pause else random.choice((100, 2000))
        async with _connected(self._where, self._context) as (reader, writer):
            self.connections += 1
            writer.write(PREFACE + MARK)
            await self._acknowledged(reader, 1)
            for _ in range(random.randint(1, 20)):
                await self._batch(reader, writer, frames.tame(many))
                await asyncio.sleep(pause)
            writer.write(b"".join(frames.wild()))
            await self._batch(reader, writer, frames.tame(many))

    async def _batch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, frames: list[bytes]) -> None:
        writer.write(b"".join(frames) + MARK)
        await self._acknowledged(reader, settings_in(frames) + 1)
        self.read += len(frames) + 1

    async def _acknowledged(self, reader: asyncio.StreamReader, settings: int) -> None:
        """Reads frames until so many settings were taken. Raises IncompleteReadError, OSError."""
        async with asyncio.timeout(PATIENCE):
            while settings:
                head = await reader.readexactly(9)
                await reader.readexactly(int.from_bytes(head[:3]))
                settings -= head[3] == SETTINGS and bool(head[4] & ACK)
                self.answers += head[3] in {DATA, HEADERS}


@asynccontextmanager
async def _connected(
    where: Listening, context: ssl.SSLContext | None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection; that the other end ends it is no fault."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(where.address, where.port, ssl=context)
    try:
        with suppress(*ENDED):
            yield reader, writer
    finally:
        writer.transport.abort()


def _http2(pair: tuple[bytes, bytes] | None) -> ssl.SSLContext:
    made = any_server(pair)
    made.set_alpn_protocols(["h2"])
    return made


# A stranger

REQUESTS: Final = (
    b"GET /healthz/ready HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /stats/prometheus HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n" * 3,
    b'POST /v1/certificates HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\nContent-Length: 11\r\n\r\n{"csr": ""}',
    b"POST /v1/reports HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[[[[[\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    PREFACE + MARK + MARK,
)


class Stranger:
    """Whoever reaches a port, and shows no certificate of this mesh."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._random = Random(SEED)
        self._contexts = (_http2(None), _http2((STRANGER.pem, STRANGER.key_pem)))
        self._https = any_server()
        self.connections = 0

    async def shakes_hands(self) -> None:
        """With the xDS port: garbage, a hello with bytes changed, or a handshake that lacks the right certificate."""
        random = self._random
        kind = random.randrange(3)
        if kind == 0:
            frames = b"".join(Frames(random, "x").tame(100))
            await self._send(self._target.xds, random.choice(self._contexts), PREFACE + MARK + frames)
            return
        content = bytearray(_hello() if kind == 1 else random.choice((random.randbytes(500), *REQUESTS)))
        for _ in range(random.randint(1, 3)):
            mutate(random, content)
        await self._send(self._target.xds, None, bytes(content))

    async def asks(self) -> None:
        """Any other port: HTTP with bytes changed, cut, doubled and moved, inside TLS where that is spoken, or not."""
        random, https = self._random, self._target.identities
        where = random.choice((https, https, *self._target.others))
        content = bytearray(random.choice(REQUESTS) if random.random() < 0.9 else random.randbytes(300))
        for _ in range(random.randint(1, 4)):
            mutate(random, content)
        inside = where is https and random.random() < 0.8
        await self._send(where, self._https if inside else None, bytes(content))

    async def _send(self, where: Listening, context: ssl.SSLContext | None, content: bytes) -> None:
        self.connections += 1
        with suppress(*ENDED):
            async with _connected(where, context) as (reader, writer):
                writer.write(content)
                with suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(65_536), 0.02)


async def _many(what: Callable[[], Awaitable[None]], many: int) -> None:
    left = iter(range(many))

    async def some() -> None:
        for _ in left:
            await what()

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(some())


def _hello() -> bytes:
    """The first words of TLS."""
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        any_server().wrap_bio(coming, going, server_hostname="localhost").do_handshake()
    return going.read()


# Everybody else


class Witness:
    """A proxy that was there before: how long until calls through it go as a file says that was just written."""

    def __init__(self, up: Up) -> None:
        self._up = up
        self.times: list[float] = []
        self.is_enough = False

    async def watch(self) -> None:
        """One change after another, until it is enough."""
        while not self.is_enough:
            await asyncio.to_thread(self.change)

    def change(self) -> None:
        status = 418 + len(self.times) % 2
        following = self._up.directory / ".changing"
        following.write_text(VIRTUAL_SERVICE.format(status=status))
        following.rename(self._up.directory / "changing.yaml")
        began = time.monotonic()
        while self._up.call("front-tomcat", "http://bill-service:9999/")[0] != status:
            assert time.monotonic() - began < PATIENCE
            time.sleep(0.02)
        self.times.append(time.monotonic() - began)


async def next_proxy(target: Target) -> list[str]:
    """Names of the clusters that somebody gets who has nothing yet but the token of its account."""
    agent = target.mesh.agent
    key = ec.generate_private_key(ec.SECP256R1())
    token = (agent.home / "token").read_text().strip()
    node: str = dict(bodies_of(agent))["/v1/reports"]["node"]
    issued = await asyncio.to_thread(_issued, target.identities, token, csr(key).decode())
    roots = (agent.home / "identity" / "root-cert.pem").read_bytes()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    credentials = grpc.ssl_channel_credentials(roots, private, issued.encode())
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", target.server_name())]
    where = f"{target.xds.address}:{target.xds.port}"
    async with grpc.aio.secure_channel(where, credentials, options=options) as channel, asyncio.timeout(PATIENCE):
        stream = Client(channel, node=node)
        await stream.send(CLUSTER)
        return [one.name for one in (await stream.read()).resources]


def _issued(where: Listening, token: str, request: str) -> str:
    with closing(_https(where)) as one:
        one.request("POST", "/v1/certificates", json.dumps({"csr": request}), {"Authorization": f"Bearer {token}"})
        chain: str = json.loads(one.getresponse().read())["chain"]
        return chain


@pytest.mark.point
@pytest.mark.timeout(7200)
async def test_whatever_frames_come_the_next_proxy_is_served(tmp_path, size, proved):
    """Threat row 1."""
    frames, connections = size(60_000, 2_000_000, 10_000_000), size(100, 3_000, 15_000)
    patience = size(*CHANGE)
    directory = lay_out(tmp_path, "bill-service")
    print(f"connection n of the flood has the seed {SEED} + n; strangers have {SEED}")
    with Up(directory).settled() as up:
        up.synced()
        target, witness = Target(up), Witness(up)
        flood, stranger = Flood(target.xds, target.mesh.agent), Stranger(target)
        await flood.run(20_000)  # whatever is loaded when it is first needed
        await _many(stranger.asks, 50)
        resident, files = target.resident(), target.open_files()
        watching = asyncio.ensure_future(witness.watch())
        await flood.run(frames)
        await _many(stranger.shakes_hands, connections)
        await _many(stranger.asks, connections)
        witness.is_enough = True
        await watching
        await asyncio.to_thread(witness.change)
        served = await next_proxy(target)
        await asyncio.to_thread(
            up.until, lambda: target.open_files() <= files + 2 and len(target.connected()) == PROXIES
        )
        grown = {pid: now - resident[pid] for pid, now in target.resident().items()}
        print(f"{flood}, {stranger.connections:,} strangers, changes {witness.times}, grown {grown} KiB")
        assert "outbound|9999||bill-service.istio-demo.svc.cluster.local" in served
        assert target.connected() == [True] * PROXIES
        assert Mesh(up).processes == target.mesh.processes
        assert target.complaints() == []
        assert up.output.stat().st_size < LOG
        worst, growth = max(witness.times), max(grown.values())
    proved(
        "identity 7.1",
        "frames and garbage to every port of a running mesh: slowest change meanwhile; memory that stays; processes that end",
        bound=f"{patience} s, {GROWTH // 1024} MiB, none",
        figure=f"{worst:.1f} s, {growth / 1024:.0f} MiB, none",
        holds=worst <= patience and growth <= GROWTH,
        cases=flood.read + stranger.connections,
        asked=frames + 2 * connections,
    )
