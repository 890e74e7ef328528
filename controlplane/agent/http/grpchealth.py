"""gRPC's health check (grpc.health.v1) without gRPC: one request over HTTP/2, with h2 for the protocol."""

from typing import Any, Final

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from controlplane.agent.http.client import Connect, NoAnswer

_CHUNK: Final = 16_384
_LARGEST: Final = 4_096  # bytes of an answer; SERVING is seven
_STREAM: Final = 1
_SERVING: Final = b"\x08\x01"  # HealthCheckResponse: its only field, `status`, is 1
_OK: Final = b"0"
_UNIMPLEMENTED: Final = b"12"


async def check(connect: Connect, authority: str, service: str, user_agent: str) -> bool:
    """Whether a service is SERVING. Raises NoAnswer."""
    try:
        reader, writer = await connect()
    except OSError as error:
        raise NoAnswer(str(error)) from error
    answer = _Answer()
    try:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        _ask(connection, authority, service, user_agent)
        while not answer.ended:
            writer.write(connection.data_to_send())
            data = await reader.read(_CHUNK)
            if not data:
                raise NoAnswer("the connection was closed without an answer")
            for event in connection.receive_data(data):
                answer.take(event)
    except (OSError, h2.exceptions.H2Error) as error:
        raise NoAnswer(f"not gRPC: {error}") from error
    finally:
        writer.transport.abort()
    return answer.serving


def _ask(connection: h2.connection.H2Connection, authority: str, service: str, user_agent: str) -> None:
    connection.initiate_connection()
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", user_agent),
    ]
    connection.send_headers(_STREAM, headers)
    connection.send_data(_STREAM, _message(service), end_stream=True)


def _message(service: str) -> bytes:
    """HealthCheckRequest{service} in a gRPC frame; names of services are shorter than 128 bytes."""
    name = service.encode()[:127]
    body = b"\x0a" + bytes([len(name)]) + name if name else b""
    return b"\x00" + len(body).to_bytes(4) + body


class _Answer:
    """What came so far."""

    def __init__(self) -> None:
        self.ended = False
        self._body = b""
        self._status = b""

    @property
    def serving(self) -> bool:
        """Raises NoAnswer when it is no health check's answer."""
        if self._status == _UNIMPLEMENTED:
            raise NoAnswer("the application has no health checks")
        if self._status != _OK:
            raise NoAnswer(f"the application answers with grpc-status {self._status.decode(errors='replace')[:10]}")
        return self._body[5:] == _SERVING

    def take(self, event: Any) -> None:
        """An event of h2's."""
        match event:
            case h2.events.DataReceived(data=data):
                self._body = (self._body + data)[:_LARGEST]
            case h2.events.ResponseReceived(headers=headers) | h2.events.TrailersReceived(headers=headers):
                self._status = bytes(dict(headers).get(b"grpc-status", self._status))
            case h2.events.StreamEnded():
                self.ended = True
            case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                raise NoAnswer("the application broke off")
