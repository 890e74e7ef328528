"""A server of many protocols, each with the difficulty it has for a proxy.

8080  HTTP, and WebSocket at /echo: a connection that becomes something else
9000  TCP where the server speaks first: a proxy that waits for the client's first bytes waits for ever
9001  UDP
9002  gRPC, unary and both ways at once: HTTP/2, trailers
"""

import asyncio
import base64
import hashlib
import os
import struct
from collections.abc import AsyncIterator
from typing import Any

import grpc

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


async def main() -> None:
    await asyncio.start_server(_http, None, 8080)
    await asyncio.start_server(_greet, None, 9000)
    await asyncio.get_running_loop().create_datagram_endpoint(_Echo, ("0.0.0.0", 9001))
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Service(),))
    server.add_insecure_port("0.0.0.0:9002")
    await server.start()
    await server.wait_for_termination()


async def _http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says who it is, for as long as it is asked."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if head.startswith(b"GET /echo "):
                await _web_socket(head, reader, writer)
                return
            body = os.environ["HOSTNAME"].encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the caller is gone
    finally:
        writer.close()


async def _web_socket(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Short frames, back as they came, until the caller closes."""
    headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
    key = next(line.split(b": ", 1)[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    assert headers[b"upgrade"] == b"websocket"
    accept = base64.b64encode(hashlib.sha1(key + _MAGIC).digest())
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %s\r\n\r\n" % accept
    )
    while True:
        kind, length = struct.unpack("!BB", await reader.readexactly(2))
        mask = await reader.readexactly(4)
        text = bytes(byte ^ mask[place % 4] for place, byte in enumerate(await reader.readexactly(length & 0x7F)))
        writer.write(struct.pack("!BB", kind, len(text)) + text)
        await writer.drain()
        if kind & 0x0F == 8:
            return


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speaks before it listens."""
    writer.write(b"220 welcome\r\n")
    writer.write(b"250 " + await reader.readline())
    await writer.drain()
    writer.close()


class _Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data, addr)


class _Service(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
    """Messages are bytes: no schema is needed."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        match details.method:
            case "/e2e.Speaks/Once":
                return grpc.unary_unary_rpc_method_handler(_once)
            case "/e2e.Speaks/Echo":
                return grpc.stream_stream_rpc_method_handler(_echo)
            case _:
                return None


async def _once(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
    context.set_trailing_metadata((("served-by", os.environ["HOSTNAME"]),))
    return request


async def _echo(requests: AsyncIterator[bytes], _context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


if __name__ == "__main__":
    asyncio.run(main())
