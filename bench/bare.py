"""What gRPC alone costs: a server that writes the same shared bytes to every stream and reads every acknowledgement.

The same simulated proxies, in the same other processes, get one endpoint resource at a time. What a control plane
needs beyond this figure is its own; what it needs below cannot be had with this server.

python -m bench.bare [--proxies 500] [--json]
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from controlplane.runtime.grpcstart import grpc_settings

with grpc_settings():  # as the control plane does
    import grpc

from envoy.service.discovery.v3 import discovery_pb2

from bench import report
from bench.fleet import Fleet, fleet
from bench.machine import raise_file_limit
from controlplane.runtime import garbage
from controlplane.snapshot import types

RUNS = 5
PAUSE = 0.4  # seconds between writes, as between changes in bench.serving
QUIET = 0.2  # seconds after the last proxy has it until acknowledgements are read
SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
BODY = 405  # bytes: then a response is as large as one with the assignment of five endpoints


class Bare:
    """All streams that are open."""

    def __init__(self) -> None:
        self.streams: list[Any] = []

    async def serve(self, _: Any, context: Any) -> None:
        await context.read()
        self.streams.append(context)
        while await context.read() is not grpc.aio.EOF:
            pass

    def server(self, target: str) -> Any:
        made = grpc.aio.server()
        handler = grpc.stream_stream_rpc_method_handler(self.serve)  # bytes in, bytes out
        service = grpc.method_handlers_generic_handler(SERVICE, {"DeltaAggregatedResources": handler})
        made.add_generic_rpc_handlers((service,))
        made.add_insecure_port(target)
        return made


def response(nonce: int) -> bytes:
    message = discovery_pb2.DeltaDiscoveryResponse(type_url=types.ENDPOINT, nonce=str(nonce))
    added = message.resources.add(name="outbound|80||svc-7.ns-7.svc.cluster.local", version=str(nonce))
    added.resource.type_url = types.ENDPOINT
    added.aliases.append("x" * BODY)  # as many bytes, and nothing for the clients to parse
    made: bytes = message.SerializeToString()
    return made


async def measure(proxies: int) -> dict[str, float]:
    """Medians, of the CPU of this process."""
    bare = Bare()
    with tempfile.TemporaryDirectory() as name:
        target = f"unix:{Path(name) / 'bare.sock'}"
        server = bare.server(target)
        await server.start()
        async with fleet(target, proxies) as clients:
            await clients.connect()
            while len(bare.streams) < proxies:  # noqa: ASYNC110  nothing tells of it
                await asyncio.sleep(0.1)
            garbage.settle()
            turns = [await one_write(bare, clients, turn) for turn in range(RUNS)]
        await server.stop(None)
    return {"proxies": proxies, **{key: statistics.median(turn[key] for turn in turns) for key in turns[0]}}


async def one_write(bare: Bare, clients: Fleet, turn: int) -> dict[str, float]:
    await asyncio.sleep(PAUSE)
    await clients.round([types.ENDPOINT])
    raw = response(turn)
    start, cpu = time.monotonic(), time.process_time()
    for stream in bare.streams:
        await stream.write(raw)
    await clients.ended()
    await asyncio.sleep(QUIET)
    spent = time.process_time() - cpu
    seen = await clients.seen()
    return {"CPU us a proxy": spent / clients.proxies * 1e6, "last ms": (seen.last - start) * 1e3, "bytes": len(raw)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--proxies", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    raise_file_limit()
    found = asyncio.run(measure(arguments.proxies))
    print(json.dumps(found) if arguments.json else report.of_bare(found))


if __name__ == "__main__":
    main()
