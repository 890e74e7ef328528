"""Calls a server of `speaks.py` in every protocol, so many times; prints how many of each went well, as JSON.

python asks.py HOST TIMES
"""

import base64
import json
import os
import socket
import struct
import sys
from collections import Counter
from http.client import HTTPConnection

import grpc

_PATIENCE = 5.0  # seconds for each step of a call
_FRAMES = (b"hello", b"", b"x" * 100)


def over_http(host: str) -> bool:
    connection = HTTPConnection(host, 8080, timeout=_PATIENCE)
    for _ in range(2):  # the connection is kept
        connection.request("GET", "/")
        answer = connection.getresponse()
        if answer.status != 200 or not answer.read():
            return False
    return True


def over_web_socket(host: str) -> bool:
    """Short frames there and back, then a proper end."""
    key = base64.b64encode(os.urandom(16)).decode()
    with socket.create_connection((host, 8080), _PATIENCE) as connection, connection.makefile("rb") as answers:
        head = f"GET /echo HTTP/1.1\r\nHost: {host}:8080\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        connection.sendall(f"{head}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
        if b" 101 " not in answers.readline():
            return False
        while answers.readline() != b"\r\n":
            pass
        for text in _FRAMES:
            connection.sendall(_frame(1, text))
            if answers.read(2 + len(text)) != struct.pack("!BB", 0x81, len(text)) + text:
                return False
        connection.sendall(_frame(8, b""))
        return answers.read(2) == b"\x88\x00"


def _frame(kind: int, text: bytes) -> bytes:
    """Masked, as a client has to; with zeros, which change nothing."""
    return struct.pack("!BBI", 0x80 | kind, 0x80 | len(text), 0) + text


def over_tcp_that_is_greeted(host: str) -> bool:
    with socket.create_connection((host, 9000), _PATIENCE) as connection, connection.makefile("rb") as answers:
        if answers.readline() != b"220 welcome\r\n":
            return False
        connection.sendall(b"hello\r\n")
        return answers.read() == b"250 hello\r\n"


def over_udp(host: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        port.settimeout(_PATIENCE)
        port.sendto(b"again", (host, 9001))
        return port.recv(100) == b"again"


def over_grpc(host: str) -> bool:
    with grpc.insecure_channel(f"{host}:9002") as channel:
        answer, call = channel.unary_unary("/e2e.Speaks/Once").with_call(b"one", timeout=_PATIENCE)
        return answer == b"one" and any(key == "served-by" for key, _ in call.trailing_metadata())


def over_grpc_both_ways(host: str) -> bool:
    messages = [b"one", b"two" * 1000, b"three"]
    with grpc.insecure_channel(f"{host}:9002") as channel:
        return list(channel.stream_stream("/e2e.Speaks/Echo")(iter(messages), timeout=_PATIENCE)) == messages


PROTOCOLS = {
    "HTTP": over_http,
    "WebSocket": over_web_socket,
    "TCP, server first": over_tcp_that_is_greeted,
    "UDP": over_udp,
    "gRPC": over_grpc,
    "gRPC stream": over_grpc_both_ways,
}


def main(host: str, times: int) -> None:
    well: Counter[str] = Counter(dict.fromkeys(PROTOCOLS, 0))
    for name, ask in PROTOCOLS.items():
        for _ in range(times):
            try:
                well[name] += ask(host)
            except (OSError, grpc.RpcError) as error:
                print(f"{name}: {error!r}", file=sys.stderr)
    print(json.dumps(well))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
