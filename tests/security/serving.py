"""An endpoint that is served, and callers of it: agents as the contract has them, and others."""

import json
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controlplane.base.clock import Clock
from controlplane.base.identity import Identity
from controlplane.runtime.buckets import Buckets, Rate
from controlplane.runtime.clock import SystemClock
from controlplane.runtime.https import HttpsServer, Limits
from controlplane.runtime.tasks import Supervisor
from controlplane.security.authorities import Authorities, open_authorities
from controlplane.security.callers import Callers, TokenKind
from controlplane.security.endpoint import Endpoint, Node
from controlplane.security.filestore import FileBundle, FileStore
from controlplane.security.holders import Holder, Holders
from controlplane.security.issuing import Lifetimes
from controlplane.security.localtokens import LocalTokens
from controlplane.security.refusal import Refusal
from controlplane.security.serving import Names, Serving
from controlplane.security.sources import OwnRoots, Secrets
from tests.security.requests import CALLER, csr
from tests.tls import load_pair

SERVER = "lateend.lateen-system.svc"
DOMAINS = ("cluster.local", "old.example")
NODE: dict[str, Any] = {
    "id": "sidecar~10.0.0.7~web-7.shop~shop.svc.cluster.local",
    "cluster": "web.shop",
    "metadata": {},
}


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


SECRETS = Secrets(key=new_key, serial=lambda: int.from_bytes(os.urandom(16), "big") or 1)


class Answered(NamedTuple):
    status: int
    body: Any
    headers: Mapping[str, str]


class Served:
    """One control plane's endpoint, with everything it stands on at hand."""

    def __init__(self, authorities: Authorities, serving: Serving, server: HttpsServer, port: int) -> None:
        self.authorities, self.serving, self.server, self.port = authorities, serving, server, port
        self.connected: list[Holder] = []
        self.clock = SystemClock()
        self.tokens = LocalTokens(os.urandom)
        self.is_ready = True

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        own: tuple[bytes, bytes] | None = None,
        trusting: bytes | None = None,
    ) -> Answered:
        """`own`: certificate chain and key to show. `trusting`: another bundle than the one that is told."""
        context = ssl.create_default_context(cadata=(trusting or self.authorities.bundle).decode())
        if own is not None:
            load_pair(context, *own)
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method,
                f"https://127.0.0.1:{self.port}{path}",
                data=data,
                headers=headers,
                ssl=context,
                server_hostname=SERVER,
            ) as answer,
        ):
            content = await answer.read()
            is_json = answer.content_type == "application/json"
            return Answered(answer.status, json.loads(content) if is_json else content.decode(), answer.headers)

    async def issue(self, token: str | None, key=None, **more: Any) -> Answered:
        """A certificate for a key."""
        how = {name: more.pop(name) for name in ("own", "trusting") if name in more}
        body = {"csr": csr(key or new_key()).decode(), **more}
        return await self.call("POST", "/v1/certificates", body, token=token, **how)

    async def certified(self, caller: Identity = CALLER) -> tuple[bytes, bytes]:
        """Chain and key of a workload."""
        key = new_key()
        found = await self.issue(self.tokens.mint(caller), key)
        assert found.status == 200, found
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return found.body["chain"].encode(), private


async def files_of(caller: Identity, node: Node) -> Mapping[str, str] | Refusal:
    return {"bootstrap.json": f"{caller.uri} {node.id}"}


@asynccontextmanager
async def served(
    folder: Path,
    *,
    asks: Rate | None = None,
    tokens: TokenKind | None = None,
    lifetimes: Lifetimes | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Served]:
    clock, connected = clock or SystemClock(), list[Holder]()
    source = OwnRoots(FileStore(folder), "cluster.local", SECRETS, clock)
    holders = Holders(clock, lambda: connected, settled=0.0)
    authorities = await open_authorities(source, holders, (FileBundle(folder / "trusted.pem"),))
    names = Names(Identity("cluster.local", "lateen-system", "lateend"), (SERVER,))
    serving = Serving(authorities, names, SECRETS, clock)
    found = Served(authorities, serving, None, 0)  # type: ignore[arg-type]
    found.connected = connected
    callers = Callers(tokens or found.tokens, DOMAINS, Buckets(clock, Rate(10_000, 1)), clock.now)
    endpoint = Endpoint(
        callers,
        authorities,
        files_of,
        rate=Buckets(clock, asks or Rate(burst=100_000, per_second=1)),
        clock=clock,
        serial=SECRETS.serial,
        lifetimes=lifetimes or Lifetimes(),
        ready=lambda: found.is_ready,
    )
    found.server = HttpsServer(endpoint.routes(), serving.read(), Limits(per_address=500))
    serving.follow(found.server.use)
    async with Supervisor(clock) as tasks:
        found.port = await found.server.listen(tasks, "127.0.0.1", 0)
        yield found
        await found.server.stop(0.1)


def leaf_of(chain: str) -> x509.Certificate:
    return x509.load_pem_x509_certificates(chain.encode())[0]


def when(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
