"""Makes calls and says what came of them: many requests on one connection, as fast as a thread can."""

import socket
import ssl
from collections.abc import Sequence
from enum import StrEnum
from functools import cache
from typing import NamedTuple

import hpack

from tests.envoys.certificates import leaf_file
from tests.explain.authorization import words
from tests.explain.authorization.calls import Caller, Sent
from tests.explain.authorization.stage import ALLOWED, DENIED

_PATIENCE = 20.0  # seconds
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADERS, _RESET, _SETTINGS, _GOAWAY = 1, 3, 4, 7


class Verdict(StrEnum):
    """What a proxy did with a call."""

    ALLOWED = "allowed"
    DENIED = "denied"  # by rules
    REFUSED = "refused"  # before any rule was asked: no proper request


class Answer(NamedTuple):
    """What came back."""

    verdict: Verdict
    status: int = 0
    dry_denied: str = ""  # what dry runs noted, "" or "-" where there are none
    dry_allowed: str = ""


REFUSED = Answer(Verdict.REFUSED)


def ask(caller: Caller, at: tuple[str, int], requests: Sequence[Sent]) -> list[Answer]:
    """All requests on as few connections as there can be: one that is no proper request ends its connection."""
    if caller.http2:
        return _all_of_http2(caller, at, requests)
    found: list[Answer] = []
    while len(found) < len(requests):
        rest = requests[len(found) :]
        with _connected(caller, at) as connection:
            found += _ask1(connection, rest)
        if len(found) < len(requests):
            found.append(REFUSED)
    return found


def _all_of_http2(caller: Caller, at: tuple[str, int], requests: Sequence[Sent]) -> list[Answer]:
    """A bad request takes all on its connection with it: those are asked again, in halves."""
    with _connected(caller, at) as connection:
        found = _ask2(connection, requests)
    if len(found) == len(requests):
        return found
    if len(requests) == 1:
        return [REFUSED]
    half = len(requests) // 2
    return [*_all_of_http2(caller, at, requests[:half]), *_all_of_http2(caller, at, requests[half:])]


def status_of(caller: Caller, at: tuple[str, int], sent: Sent) -> int:
    """Of one request over HTTP/1.1; 0: there was no answer."""
    with _connected(caller, at) as connection:
        connection.sendall(_request1(sent))
        return _answer1(connection).status


def connect(caller: Caller, at: tuple[str, int]) -> Verdict:
    """Whether bytes come through."""
    with _connected(caller, at) as connection:
        try:
            connection.sendall(b"\x00 hello\n")
            return Verdict.ALLOWED if connection.recv(64) else Verdict.DENIED
        except ConnectionError:
            return Verdict.DENIED


def _connected(caller: Caller, at: tuple[str, int]) -> socket.socket:
    plain = socket.socket()
    try:
        plain.settimeout(_PATIENCE)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.bind((caller.source, 0))
        plain.connect(at)
        if not caller.tls:
            return plain
        return _context(caller.certificate, caller.http2).wrap_socket(plain, server_hostname=caller.server_name or None)
    except OSError:
        plain.close()
        raise


@cache
def _context(certificate: tuple[str, ...], http2: bool) -> ssl.SSLContext:  # noqa: FBT001  a key
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2" if http2 else "http/1.1"])
    if certificate:
        context.load_cert_chain(leaf_file(*certificate))
    return context


# HTTP/1.1


def _ask1(connection: socket.socket, requests: Sequence[Sent]) -> list[Answer]:
    """One after the other: Envoy cuts whoever has it hold more than two answers."""
    found: list[Answer] = []
    try:
        for sent in requests:
            connection.sendall(_request1(sent))
            answer = _answer1(connection)
            if answer.verdict is Verdict.REFUSED:
                break
            found.append(answer)
    except ConnectionError:
        pass
    return found


def _request1(sent: Sent) -> bytes:
    message = sent.message
    target = f"http://{message.host}{message.path}" if sent.absolute else message.path
    host = "other.example" if sent.absolute else message.host
    lines = [
        f"{message.method} {target} HTTP/1.1",
        f"Host: {host}",
        *(f"{name}: {value}" for name, value in _all(sent)),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def _all(sent: Sent) -> list[tuple[str, str]]:
    headers = [*sent.message.headers]
    if sent.forwarded:
        headers.append(("x-forwarded-for", sent.forwarded))
    if sent.token >= 0:
        headers.append(("authorization", f"Bearer {words.signed()[sent.token]}"))
    return headers


def _answer1(connection: socket.socket) -> Answer:
    buffer = b""
    while b"\r\n\r\n" not in buffer:
        part = connection.recv(65536)
        if not part:
            return REFUSED
        buffer += part
    head, _, rest = buffer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    answer = _answer(int(first.split()[1]), headers)
    while len(rest) < int(headers.get("content-length", "0")) and answer.verdict is not Verdict.REFUSED:
        rest += connection.recv(65536)
    return answer


def _answer(status: int, headers: dict[str, str]) -> Answer:
    verdict = {200: Verdict.ALLOWED, 403: Verdict.DENIED}.get(status, Verdict.REFUSED)
    return Answer(verdict, status, headers.get(DENIED, ""), headers.get(ALLOWED, ""))


# HTTP/2: enough of it to ask.


def _ask2(connection: socket.socket, requests: Sequence[Sent]) -> list[Answer]:
    """All at once, each on its stream. Fewer answers than requests: the connection was cut."""
    found: dict[int, Answer] = {}
    frames = [_PREFACE, _frame(_SETTINGS, 0, 0)]
    frames += [_frame(_HEADERS, 0x5, 2 * i + 1, _block(sent)) for i, sent in enumerate(requests)]
    try:
        connection.sendall(b"".join(frames))
        _read2(connection, found, len(requests))
    except (ConnectionError, ssl.SSLError):
        pass
    return [found[stream] for stream in sorted(found)]


def _block(sent: Sent) -> bytes:
    """Every header a plain literal without index."""
    message = sent.message
    pseudo = [(":method", message.method), (":scheme", "http"), (":path", message.path), (":authority", message.host)]
    fields = [*pseudo, *((name.lower(), value) for name, value in _all(sent))]
    return b"".join(b"\x00" + _string(_raw(name)) + _string(_raw(value)) for name, value in fields)


def _raw(text: str) -> bytes:
    """Surrogates are bytes that are no UTF-8."""
    return text.encode(errors="surrogateescape")


def _string(raw: bytes) -> bytes:
    """Without Huffman; lengths as RFC 7541 writes integers of seven bits."""
    if len(raw) < 127:
        return bytes([len(raw)]) + raw
    rest, out = len(raw) - 127, bytearray([127])
    while rest >= 128:
        out.append(rest % 128 | 128)
        rest //= 128
    return bytes(out) + bytes([rest]) + raw


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def _read2(connection: socket.socket, found: dict[int, Answer], wanted: int) -> None:
    decoder, buffer = hpack.Decoder(), b""
    while len(found) < wanted:
        part = connection.recv(65536)
        if not part:
            return
        buffer += part
        while len(buffer) >= 9 and len(buffer) >= 9 + (length := int.from_bytes(buffer[:3])):
            kind, stream = buffer[3], int.from_bytes(buffer[5:9])
            payload, buffer = buffer[9 : 9 + length], buffer[9 + length :]
            if kind == _GOAWAY:
                return
            if kind == _RESET:
                found[stream] = REFUSED
            elif kind == _HEADERS and stream not in found:
                headers = {str(name): str(value) for name, value in decoder.decode(payload)}
                found[stream] = _answer(int(headers[":status"]), headers)
