"""The control plane's identity endpoint as its contract has it, small, over real TLS, and as bad as a test wants it.

    POST /v1/certificates   by token, or by certificate
    POST /v1/reports        by certificate

It issues with the mesh's own authority. What it does wrong is said by `behave`: a status, garbage, too much, too
slow, or nobody there at all.
"""

import json
import secrets
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from controlplane.base.identity import Identity
from controlplane.security.authority import Authority, new_root, pem
from controlplane.security.issuing import Issued, Lifetimes, issue

NAME = "lateend.lateen-system.svc"
TOKEN = "a.token.of-cart"
CALLER = Identity("cluster.local", "shop", "cart")
_ANY_LIFETIME = Lifetimes(shortest=timedelta(seconds=1))


def new_authority() -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    return new_root("cluster.local", key, now=datetime.now(UTC), serial=secrets.randbits(128))


def signed(authority: Authority, *names: x509.GeneralName, life: timedelta = timedelta(days=1)) -> bytes:
    """Key and certificate in one PEM, for servers and for clients of tests."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(secrets.randbits(127))
        .not_valid_before(now - timedelta(minutes=2))
        .not_valid_after(now + life)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    above = () if authority.certificate in authority.roots else (authority.certificate,)
    return private + pem((certificate, *above))


class Asked(NamedTuple):
    """One request that came."""

    path: str
    body: dict[str, Any]
    by: str  # "token", "certificate" or ""
    token: str
    at: datetime


class Behaviour(NamedTuple):
    """What is wrong with the answer to a request for a certificate; nothing, unless said."""

    status: int = 200
    why: str = "busy"
    headers: str = ""
    raw: bytes | None = None  # instead of an answer
    hang: bool = False  # no answer until the connection is closed
    change: Callable[[dict[str, Any]], dict[str, Any]] = lambda answer: answer


class Endpoint:
    """Use as a context manager; `roots` is the file with the bundle that agents get."""

    def __init__(self, folder: Path, *, files: dict[str, str] | None = None, life: float = 3600.0) -> None:
        self.authority = new_authority()
        self.issuer: Authority | None = None  # instead of it
        self.trusted = [self.authority]
        self.bundle = folder / "roots.pem"
        self.token = folder / "token"
        self.files = files if files is not None else {"bootstrap.json": "{}"}
        self.life = life
        self.tokens = {TOKEN: CALLER}
        self.takes_certificates = True
        self.behaviour = Behaviour()
        self.asked: list[Asked] = []
        self.reports: list[Asked] = []
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._arrived = threading.Condition()
        self._server: socket.socket | None = None
        self.port = 0
        self.token.write_text(TOKEN)
        self.write_bundle()

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def up(self) -> None:
        """Listens, at the port it had before."""
        server = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self.port = server.getsockname()[1]
        self._server = server
        threading.Thread(target=self._accept, args=(server,), daemon=True).start()

    def down(self) -> None:
        """Nobody is there."""
        if self._server is not None:
            self._server.shutdown(socket.SHUT_RDWR)
            self._server.close()
            self._server = None

    def write_bundle(self, *authorities: Authority) -> None:
        self.trusted = list(authorities) or self.trusted
        beside = self.bundle.with_suffix(".new")
        beside.write_bytes(pem([root for each in self.trusted for root in each.roots]))
        beside.rename(self.bundle)

    def become_intermediate(self) -> Authority:
        """From now on an authority below the root issues, whose certificate peers get with each chain."""
        root, key, now = self.authority, ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "between")]))
            .issuer_name(root.certificate.subject)
            .public_key(key.public_key())
            .serial_number(secrets.randbits(127))
            .not_valid_before(now - timedelta(minutes=2))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(root.key, SHA256())
        )
        self.authority = Authority(certificate, key, (), root.roots)
        return self.authority

    def certificates(self, by: str = "") -> list[Asked]:
        """Requests for certificates so far."""
        return [asked for asked in list(self.asked) if asked.path == "/v1/certificates" and by in {"", asked.by}]

    def wait_for(self, true: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
        """Until it is true after some request."""
        with self._arrived:
            assert self._arrived.wait_for(true, seconds), f"waited {seconds} s for {what}"

    def wait_for_reports(self, count: int) -> Asked:
        """The last of them."""
        self.wait_for(lambda: len(self.reports) >= count, f"{count} reports")
        return self.reports[-1]

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _context(self) -> ssl.SSLContext:
        pair = self._folder / f"server-{secrets.token_hex(4)}.pem"
        pair.write_bytes(signed(self.authority, x509.DNSName(NAME)))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair)
        pair.unlink()
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=pem([root for each in self.trusted for root in each.roots]).decode())
        return context

    def _serve(self, connection: socket.socket) -> None:
        try:
            with self._context().wrap_socket(connection, server_side=True) as tls:
                tls.settimeout(30)
                self._answer(tls)
        except OSError:
            connection.close()  # the agent thought better of it

    def _answer(self, tls: ssl.SSLSocket) -> None:
        file = tls.makefile("rwb")
        request_line = file.readline().decode()
        if not request_line:
            return  # killed in the middle
        method, path, _ = request_line.split()
        headers = {}
        while line := file.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = json.loads(file.read(int(headers.get("content-length", "0"))) or b"null")
        assert method == "POST"
        status, answer, more = self._decide(path, body, headers.get("authorization", ""), tls.getpeercert())
        if answer is None:
            tls.recv(1)
            return
        reply = answer if isinstance(answer, bytes) else None
        if reply is None:
            encoded = json.dumps(answer).encode()
            head = f"HTTP/1.1 {status} -\r\nContent-Length: {len(encoded)}\r\n{more}\r\n"
            reply = head.encode() + encoded
        file.write(reply)
        file.flush()

    def _decide(self, path: str, body: Any, authorization: str, shown: Any) -> tuple[int, Any, str]:
        by = "token" if authorization else "certificate" if shown else ""
        token = authorization.removeprefix("Bearer ")
        asked = Asked(path, body, by, token, datetime.now(UTC))
        caller = self.tokens.get(token) if by == "token" else CALLER if shown and self.takes_certificates else None
        try:
            if path == "/v1/reports":
                return self._report(asked, caller)
            return self._certificate(asked, caller)
        finally:
            with self._arrived:
                self.asked.append(asked)
                self._arrived.notify_all()

    def _report(self, asked: Asked, caller: Identity | None) -> tuple[int, Any, str]:
        if caller is None or asked.by != "certificate":
            return 401, {"why": "unauthenticated", "message": "who are you?"}, ""
        self.reports.append(asked)
        return 200, {}, ""

    def _certificate(self, asked: Asked, caller: Identity | None) -> tuple[int, Any, str]:
        behaviour = self.behaviour
        if behaviour.hang:
            return 0, None, ""
        if behaviour.raw is not None:
            return 0, behaviour.raw, ""
        if behaviour.status != 200:
            return behaviour.status, {"why": behaviour.why, "message": "not now"}, behaviour.headers
        if caller is None:
            return 401, {"why": "unauthenticated", "message": "who are you?"}, ""
        issued = issue(
            asked.body["csr"].encode(),
            caller,
            self.issuer or self.authority,
            now=datetime.now(UTC),
            serial=secrets.randbits(127),
            asked=timedelta(seconds=self.life),
            lifetimes=_ANY_LIFETIME,
        )
        assert isinstance(issued, Issued), issued
        answer = {
            "chain": issued.chain.decode(),
            "notBefore": issued.not_before.isoformat(),
            "notAfter": issued.not_after.isoformat(),
            **({"files": self.files} if "node" in asked.body else {}),
        }
        return 200, behaviour.change(answer), ""
