"""A whole mesh, started as its user would, and every port it has: what answers there is in the table, to these callers.

Ports are those the kernel names. What is tried is more than anybody offers: the paths of the table in every spelling,
Envoy's admin interface, istiod's, and what debuggers and frameworks bring along.
"""

import json
import ssl
import stat
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.local.meshes import Up, lay_out
from tests.security.requests import csr
from tests.threats import listening
from tests.threats.ports import ANYBODY, CERTIFICATE, IDENTITY, INSIDE, PROBE, READINESS, STATUS, TOKEN, XDS, answered
from tests.threats.wordlist import METHODS, PATHS, spellings
from tests.tls import Signed, load_pair, signed
from tests.xds.raw import UNIMPLEMENTED, connected

PATIENCE = 5.0  # seconds
QUIT, DRAIN = ("POST", "/quitquitquit"), ("POST", "/drain")
STRANGER = signed("x", signed("a root of nobody's"), uri="spiffe://cluster.local/ns/istio-demo/sa/default")
Asked = tuple[str, str]  # method, path


class Process(NamedTuple):
    """One of the mesh's."""

    pid: int
    kind: str  # "control plane", "agent", "envoy", "application"
    home: Path


class Mesh:
    """What runs, at the moment all of it did: one of the tests ends a proxy."""

    def __init__(self, up: Up) -> None:
        self.up = up
        self.processes = {pid: _process(pid, up) for pid in listening.tree(up.process.pid)}
        self.sockets = listening.tcp(set(self.processes))
        ours = {pid for pid, one in self.processes.items() if one.kind != "application"}
        self.unix = [(path, _mode(self.processes[pid].home / path)) for pid, path in listening.unix(ours)]
        self.agent = next(one for _, one in sorted(self.processes.items()) if one.kind == "agent")
        self.sent = {one["name"]: up.ask(f"/config?proxy={one['name']}") for one in up.ask("/proxies")}

    def of(self, kind: str) -> list[listening.Listening]:
        return sorted(one for one in self.sockets if self.processes[one.pid].kind == kind)


def _process(pid: int, up: Up) -> Process:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    program = Path(f"/proc/{pid}/exe").readlink().name
    if pid == up.process.pid:
        kind = "control plane"
    elif "envoy" in program:
        kind = "envoy"
    else:
        kind = "agent" if b"controlplane.agent" in words else "application"
    return Process(pid, kind, Path(f"/proc/{pid}/cwd").readlink())


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    directory = lay_out(tmp_path_factory.mktemp("ports"), "bill-service")
    with Up(directory).settled() as up:
        up.synced()
        yield Mesh(up)


def _mode(path: Path) -> tuple[int, int]:
    """Of a file and its folder; (0, 0): there is none."""
    if not path.exists():
        return 0, 0
    return stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)


class Caller(NamedTuple):
    """Somebody who asks."""

    kinds: frozenset[str]
    context: ssl.SSLContext | None = None
    headers: tuple[tuple[str, str], ...] = ()
    bodies: tuple[tuple[str, Any], ...] = ()


def any_server(pair: tuple[bytes, bytes] | None = None) -> ssl.SSLContext:
    """Whom a client takes for the server is not the question here."""
    made = ssl.create_default_context()
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    if pair is not None:
        load_pair(made, *pair)
    return made


def answers(where: listening.Listening, caller: Caller, asked: Iterable[Asked]) -> set[Asked]:
    """What of it this caller is answered."""
    return {each for each in asked if 200 <= _status(where, caller, *each) < 300}


def _status(where: listening.Listening, caller: Caller, method: str, path: str) -> int:
    body = (
        json.dumps(dict(caller.bodies).get(meant((method, path))[1], {})).encode()
        if method in {"POST", "PUT", "PATCH"}
        else b""
    )
    try:
        with closing(_connection(where, caller)) as connection:
            connection.request(method, path, body, dict(caller.headers))
            return connection.getresponse().status
    except (OSError, HTTPException, ValueError):
        return 0


def _connection(where: listening.Listening, caller: Caller) -> HTTPConnection:
    if caller.context is None:
        return HTTPConnection(where.address, where.port, timeout=PATIENCE)
    return HTTPSConnection(where.address, where.port, timeout=PATIENCE, context=caller.context)


def expected(port: str, caller: Caller) -> set[Asked]:
    return {(one.method, one.path) for one in answered() if one.port == port and one.callers & caller.kinds}


def meant(asked: Asked) -> Asked:
    """Nobody looks at queries."""
    return asked[0], asked[1].partition("?")[0]


def tried(port: str) -> set[Asked]:
    """Everything that is in the table anywhere, its other spellings, and what is elsewhere."""
    known = [one for one in answered() if one.path.startswith("/") and one.path != PROBE]
    paths = {one.path for one in known}
    more = {spelt for one in known if one.port == port for spelt in spellings(one.path)}
    return set(product(METHODS, {*PATHS, *paths, *more}))


def test_nothing_listens_that_is_not_known(mesh: Mesh):
    """The kernel's list: two ports of the control plane, two of each agent, and of each Envoy what it was sent."""
    assert len(mesh.of("control plane")) == 2
    agents = {one.pid for one in mesh.of("agent")}
    assert len(agents) == 3
    for pid in agents:
        assert [one.port for one in mesh.of("agent") if one.pid == pid] == [15020, 15021]
    known = {
        (listener["address"]["socketAddress"]["address"], listener["address"]["socketAddress"]["portValue"])
        for config in mesh.sent.values()
        for listener in config["listeners"]
    }
    assert {(one.address, one.port) for one in mesh.of("envoy")} <= known
    assert mesh.of("envoy")
    assert all(one.address.startswith("127.") for one in mesh.sockets)
    ours = {pid for pid, one in mesh.processes.items() if one.kind != "application"}
    assert listening.udp(ours) == set()


def test_unix_sockets_are_their_owner_s(mesh: Mesh):
    """The debug socket and Envoy's admin interface: by their names, for nobody else, in folders of nobody else."""
    assert sorted(Path(path).name for path, _ in mesh.unix) == ["admin.sock", "admin.sock", "admin.sock", "debug.sock"]
    for path, modes in mesh.unix:
        assert not path.startswith("@")  # an abstract name, which has no owner
        assert modes == (0o600, 0o700)


def pair_of(process: Process) -> tuple[bytes, bytes]:
    """The certificate and key an agent got."""
    folder = process.home / "identity"
    return (folder / "cert-chain.pem").read_bytes(), (folder / "key.pem").read_bytes()


def bodies_of(process: Process) -> tuple[tuple[str, Any], ...]:
    """What an agent would send."""
    node = json.loads((process.home / "bootstrap.json").read_text())["node"]["id"]
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    report = {"node": node, "roots": [], "issuedBy": "", "notAfter": until}
    wanted = {"csr": csr(ec.generate_private_key(ec.SECP256R1())).decode()}
    return ("/v1/certificates", wanted), ("/v1/reports", report)


def identity_callers(process: Process) -> list[Caller]:
    token = (process.home / "token").read_text().strip()
    bodies = bodies_of(process)
    nobody, shown = any_server(), any_server(pair_of(process))
    bad = (("Authorization", "Bearer nonsense"),)
    return [
        Caller(frozenset({ANYBODY}), nobody, bodies=bodies),
        Caller(frozenset({ANYBODY}), nobody, bad, bodies),
        Caller(frozenset({TOKEN}), nobody, (("Authorization", f"Bearer {token}"),), bodies),
        Caller(frozenset({CERTIFICATE}), shown, bodies=bodies),
        Caller(frozenset(), any_server((STRANGER.pem, STRANGER.key_pem)), bodies=bodies),
        Caller(frozenset(), None, bodies=bodies),  # plain text
    ]


@pytest.mark.point
@pytest.mark.timeout(900)
async def test_each_port_answers_what_the_table_says_to_whom_it_says(mesh: Mesh, proved, size):
    ports = mesh.of("control plane")
    https = next(one for one in ports if _status(one, Caller(frozenset(), any_server()), "GET", "/healthz/live") == 200)
    (xds,) = (one for one in ports if one != https)
    status, readiness = (one for one in mesh.of("agent") if one.pid == mesh.agent.pid)
    wrong: list[str] = []
    cases = 0
    plain = Caller(frozenset({ANYBODY, INSIDE}))
    proxied = plain._replace(headers=(("x-forwarded-proto", "http"),))
    for port, where, callers in (
        (IDENTITY, https, identity_callers(mesh.agent)),
        (STATUS, status, [plain._replace(kinds=frozenset({ANYBODY}))]),
        (READINESS, readiness, [plain]),
    ):
        for caller in callers:
            all_of_them = sorted(one for one in tried(port) if meant(one) not in {QUIT, DRAIN})
            right = {one for one in all_of_them if meant(one) in expected(port, caller)}
            asked = right.union(all_of_them[:: size(5, 1)])
            found = answers(where, caller, asked)
            wrong += [f"{port}: {each} to {sorted(caller.kinds)}" for each in sorted(found ^ right)]
            cases += len(asked)
    for shown, is_answered in ((None, False), (STRANGER, False), (pair_of(mesh.agent), True)):
        wrong += [f"{XDS}: {path} to {shown and '…'}" for path in await _spoken(xds, shown) if not is_answered]
        cases += 1
    for where, order in ((readiness, DRAIN), (status, QUIT)):  # after these nothing is as it was
        assert not answers(where, proxied, [order])  # what comes by way of Envoy is not from inside
        assert answers(where, plain, [order]) == {order}
    proved(
        "identity 5", "methods and paths on the ports of a running mesh, by kind of caller: not as the table says",
        bound="0", figure=f"{len(wrong)} {wrong[:5]}" if wrong else "0", holds=not wrong, cases=cases, asked=size(2_000, 10_000),
    )  # fmt: skip


async def _spoken(where: listening.Listening, shown: Signed | tuple[bytes, bytes] | None) -> list[str]:
    """What gRPC says anything to: of what is no method of ours it may say that there is none."""
    pair = (shown.pem, shown.key_pem) if isinstance(shown, Signed) else shown
    context = any_server(pair)
    context.set_alpn_protocols(["h2"])
    found = []
    for path in (
        "/",
        "/debug",
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ):
        try:
            async with connected(where.port, context) as raw:
                reply = await raw.call(path)
        except (OSError, ssl.SSLError):
            continue
        assert reply.grpc_status == UNIMPLEMENTED, path
        found.append(path)
    return found
