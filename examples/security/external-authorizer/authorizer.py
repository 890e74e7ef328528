"""An external authorizer: requests with the header `x-pass: open sesame` may pass.

    python authorizer.py --http       # for envoyExtAuthzHttp: 200 is yes, everything else is no
    python authorizer.py --grpc       # for envoyExtAuthzGrpc: envoy.service.auth.v3.Authorization

In a container it listens on port 9000 of every address; where HOST and PORT are set it listens there. HTTP needs the
standard library alone, gRPC needs the packages grpcio and xds-protos.
"""

import argparse
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HEADER, PASS = "x-pass", "open sesame"
WHY = "show your pass"


class Doorman(BaseHTTPRequestHandler):
    """Gets the request's head, with the headers that the provider includes, and answers for it."""

    protocol_version = "HTTP/1.1"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):  # any method: it is the one of the request that is asked about
            return self.answer
        raise AttributeError(name)

    def answer(self) -> None:
        allowed = self.headers.get(HEADER) == PASS
        body = b"" if allowed else f"{WHY}\n".encode()
        self.send_response(200 if allowed else 403)
        self.send_header("content-length", str(len(body)))
        if not allowed:
            self.send_header("x-why", WHY)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def serve_http(host: str, port: int) -> None:
    ThreadingHTTPServer((host, port), Doorman).serve_forever()


def serve_grpc(host: str, port: int) -> None:
    import grpc  # noqa: PLC0415  HTTP does without
    from envoy.service.auth.v3 import external_auth_pb2, external_auth_pb2_grpc  # noqa: PLC0415  as above
    from google.rpc import code_pb2  # noqa: PLC0415  as above

    class Porter(external_auth_pb2_grpc.AuthorizationServicer):
        def Check(self, request: Any, _context: Any) -> Any:  # noqa: N802  the service's own name
            answer = external_auth_pb2.CheckResponse()
            if request.attributes.request.http.headers.get(HEADER) != PASS:
                answer.status.code = code_pb2.PERMISSION_DENIED
                answer.denied_response.body = f"{WHY}\n"
            else:
                answer.ok_response.SetInParent()
            return answer

    server = grpc.server(ThreadPoolExecutor(4))
    external_auth_pb2_grpc.add_AuthorizationServicer_to_server(Porter(), server)
    server.add_insecure_port(f"{host}:{port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--http", action="store_const", dest="serve", const=serve_http)
    how.add_argument("--grpc", action="store_const", dest="serve", const=serve_grpc)
    serve = parser.parse_args().serve
    with suppress(KeyboardInterrupt):
        serve(os.environ.get("HOST", "0.0.0.0"), int(os.environ.get("PORT", "9000")))  # noqa: S104  a container's own
