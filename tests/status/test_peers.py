"""Replicas ask each other, over real TLS; nobody else is answered, and nobody is waited for."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest

from controlplane.base.identity import Identity
from controlplane.model.problem import Level, ObjectRef, Origin, Problem
from controlplane.runtime.https import HttpsServer
from controlplane.runtime.tasks import Supervisor
from controlplane.runtime.tls import Generation
from controlplane.security.apiserver import LARGEST, NoAnswer
from controlplane.security.serving import Names, Serving
from controlplane.status.parts import MOST_ASKED, Content, Part, Progress, Report
from controlplane.status.peers import PeerEndpoint, Question, Replica, open_peers
from tests.security.serving import DOMAINS, SECRETS, SERVER, Served, served

OWN = Identity("cluster.local", "lateen-system", "lateend")
RULE = ObjectRef("networking.istio.io", "VirtualService", "shop", "bill")
REPORT = Report(
    (Part(RULE, Content("u/3", "abc"), Progress(7, 2, ("web-1.shop",))),),
    (Problem("RefusedByProxy", Level.ERROR, Origin(RULE, "spec.http[0]"), "refused by web-1.shop: no"),),
)


class Other:
    """Another replica: its port, and what it knows."""

    def __init__(self, mesh: Served, endpoint: PeerEndpoint, port: int) -> None:
        self.mesh = mesh
        self.port = port
        self.asked: list[Sequence[ObjectRef]] = []
        self.report: Report | None = REPORT
        endpoint.knows = self.knows

    def knows(self, refs: Sequence[ObjectRef]) -> Report | None:
        self.asked.append(refs)
        return self.report

    def generation(self, own: Identity = OWN, names: tuple[str, ...] = ()) -> Generation:
        return Serving(self.mesh.authorities, Names(own, names), SECRETS, self.mesh.clock).read()


@asynccontextmanager
async def other(folder: Path) -> AsyncIterator[Other]:
    async with served(folder) as mesh:
        endpoint = PeerEndpoint(OWN, DOMAINS, mesh.clock)
        server = HttpsServer(endpoint.routes(), mesh.serving.read())
        async with Supervisor(mesh.clock) as tasks:
            port = await server.listen(tasks, "127.0.0.1", 0)
            yield Other(mesh, endpoint, port)
            await server.stop(0.1)


def replica(server_name: str = SERVER, host: str = "127.0.0.1") -> Replica:
    return Replica("lateend-2", host, server_name)


async def test_what_a_replica_knows_travels(tmp_path: Path) -> None:
    async with other(tmp_path) as asked, open_peers(asked.generation(), asked.port) as peers:
        assert await peers.ask(replica(), [RULE]) == REPORT
        assert await peers.ask(replica(), []) == REPORT
        assert asked.asked == [(RULE,), ()]


@pytest.mark.parametrize(
    ("caller", "names", "status"),
    [
        (Identity("cluster.local", "shop", "web"), (), 403),
        (Identity("cluster.local", "shop", "lateend"), (), 403),
        (Identity("cluster.local", "lateen-system", "gateway"), (), 403),
        (Identity("elsewhere.example", "lateen-system", "lateend"), (), 401),
        (OWN, (SERVER,), 401),  # a server's certificate proves nothing of who calls
    ],
)
async def test_nobody_else_is_answered(tmp_path: Path, caller: Identity, names: tuple[str, ...], status: int) -> None:
    async with other(tmp_path) as asked, open_peers(asked.generation(caller, names), asked.port) as peers:
        with pytest.raises(NoAnswer, match=str(status)):
            await peers.ask(replica(), [RULE])
        assert asked.asked == []


async def test_a_replica_of_the_trust_domain_s_earlier_name_is_one(tmp_path: Path) -> None:
    old = OWN._replace(trust_domain="old.example")
    async with other(tmp_path) as asked, open_peers(asked.generation(old), asked.port) as peers:
        assert await peers.ask(replica(), [RULE]) == REPORT


async def test_without_a_certificate_there_is_no_answer(tmp_path: Path) -> None:
    async with other(tmp_path) as asked, aiohttp.ClientSession() as session:
        url = f"https://127.0.0.1:{asked.port}/v1/progress"
        async with session.post(url, json={"objects": []}, ssl=False) as response:
            assert response.status == 401
        assert asked.asked == []


async def test_only_a_control_plane_is_asked(tmp_path: Path) -> None:
    async with other(tmp_path) as asked, open_peers(asked.generation(), asked.port) as peers:
        with pytest.raises(NoAnswer, match="cannot be asked"):
            await peers.ask(replica("lateend-canary.lateen-system.svc"), [RULE])
        assert asked.asked == []


@pytest.mark.parametrize("why", ["not read yet", "a huge answer", "nobody there"])
async def test_what_is_no_answer(tmp_path: Path, why: str) -> None:
    async with other(tmp_path) as asked:
        huge = Problem("RefusedByProxy", Level.ERROR, Origin(RULE), "x" * LARGEST)
        asked.report = None if why == "not read yet" else Report((), (huge,))
        port = 1 if why == "nobody there" else asked.port
        async with open_peers(asked.generation(), port) as peers:
            with pytest.raises(NoAnswer):
                await peers.ask(replica(), [RULE])


@pytest.mark.parametrize(
    "sent",
    [b"", b"{", b'{"objects": [1]}', b"[" * 5_000, msgspec.json.encode(Question((RULE,) * (MOST_ASKED + 1)))],
)
async def test_what_is_no_question(tmp_path: Path, sent: bytes) -> None:
    async with other(tmp_path) as asked, open_peers(asked.generation(), asked.port) as peers:
        url = f"https://127.0.0.1:{asked.port}/v1/progress"
        async with peers.session.post(url, data=sent, ssl=peers.tls, server_hostname=SERVER) as response:
            assert response.status == 400
        assert asked.asked == []


async def test_who_hangs_is_given_up(tmp_path: Path) -> None:
    async with served(tmp_path) as mesh:
        own = Serving(mesh.authorities, Names(OWN, ()), SECRETS, mesh.clock).read()

        over = asyncio.Event()

        async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await over.wait()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        async with server, open_peers(own, server.sockets[0].getsockname()[1]) as peers:
            with pytest.raises(NoAnswer, match="does not answer within 1 s"):
                await peers.ask(replica(), [RULE])
            over.set()
            await asyncio.sleep(0.05)


async def test_the_next_certificate_is_used(tmp_path: Path) -> None:
    async with other(tmp_path) as asked:
        stranger = asked.generation(Identity("cluster.local", "shop", "web"))
        async with open_peers(stranger, asked.port) as peers:
            with pytest.raises(NoAnswer, match="403"):
                await peers.ask(replica(), [])
            peers.use(asked.generation())
            assert await peers.ask(replica(), []) == REPORT
