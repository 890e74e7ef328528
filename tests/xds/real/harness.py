"""A server process, an Envoy process, and what they said."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf import any_pb2

from controlplane.snapshot.resource import Ref, Resource
from tests.envoys.process import RunningEnvoy, start
from tests.xds.real.serving import packed

ROOT = Path(__file__).resolve().parents[3]


class ServerProcess:
    """`serving` as a subprocess."""

    def __init__(self, socket: Path) -> None:
        self.events: list[dict[str, Any]] = []
        self._socket = socket
        self._applied = 0
        self._spawn()

    def _spawn(self) -> None:
        command = [sys.executable, "-m", "tests.xds.real.serving", str(self._socket)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ}
        )
        self._listener = threading.Thread(target=self._listen, args=(self._process,), daemon=True)
        self._listener.start()

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.events.append(json.loads(line))

    def apply(self, *resources: Resource, remove: tuple[Resource | Ref, ...] = ()) -> None:
        """Change what is served; returns when the server did."""
        before = len(self.of("applied"))
        command = {"set": [packed(each) for each in resources], "remove": [[r.type_url, r.name] for r in remove]}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        self.wait(lambda: len(self.of("applied")) > before, "the change to be applied")

    def of(self, event: str) -> list[dict[str, Any]]:
        return [each for each in tuple(self.events) if each["event"] == event]

    def sent(self) -> list[tuple[str, list[str], list[str]]]:
        """Responses as (type, names, removed)."""
        return [(each["type_url"], each["names"], each["removed"]) for each in self.of("sent")]

    def restart(self, *resources: Resource) -> None:
        """`kill -9`, and a new process with these resources."""
        self._process.kill()
        self._reap()
        self.events.clear()
        self._spawn()
        self.apply(*resources)

    def stop(self) -> None:
        self._process.terminate()
        self._reap()

    def _reap(self) -> None:
        self._process.wait()
        self._listener.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def wait(self, true: Callable[[], object], what: str, patience: float = 20.0) -> None:
        end = time.monotonic() + patience
        while not true():
            assert time.monotonic() < end, f"waited for {what}; heard {self.events[-12:]}"
            time.sleep(0.01)

    def quiet(self, seconds: float = 0.5) -> None:
        """Until nothing was said for a while."""
        seen, since = len(self.events), time.monotonic()
        while time.monotonic() - since < seconds:
            time.sleep(0.02)
            if len(self.events) != seen:
                seen, since = len(self.events), time.monotonic()


def bootstrap(socket: Path, *, delta: bool) -> Any:
    """An Envoy that gets everything over ADS from a Unix socket."""
    made = bootstrap_pb2.Bootstrap()
    made.node.id, made.node.cluster = "sidecar~127.0.0.2~web-1.shop~shop.svc.cluster.local", "web.shop"
    ads = made.dynamic_resources.ads_config
    ads.api_type = "DELTA_GRPC" if delta else "GRPC"
    ads.transport_api_version = 2
    ads.set_node_on_first_message_only = True
    ads.grpc_services.add().envoy_grpc.cluster_name = "xds"
    for config in (made.dynamic_resources.lds_config, made.dynamic_resources.cds_config):
        config.ads.SetInParent()
        config.resource_api_version = 2
    cluster = made.static_resources.clusters.add(name="xds", type="STATIC")
    cluster.connect_timeout.seconds = 1
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    cluster.typed_extension_protocol_options[options].CopyFrom(_http2())
    cluster.load_assignment.cluster_name = "xds"
    endpoint = cluster.load_assignment.endpoints.add().lb_endpoints.add().endpoint
    endpoint.address.pipe.path = str(socket)
    return made


def _http2() -> Any:
    options = http_protocol_options_pb2.HttpProtocolOptions()
    options.explicit_http_config.http2_protocol_options.SetInParent()
    packed_options = any_pb2.Any()
    packed_options.Pack(options)
    return packed_options


class World:
    """One server, one Envoy."""

    def __init__(self, server: ServerProcess, envoy: RunningEnvoy) -> None:
        self.server, self.envoy = server, envoy

    def get(self, listener: str, host: str, path: str = "/") -> tuple[int, str]:
        """One request through a listener."""
        connection = HTTPConnection(*self.envoy.address(listener), timeout=30)
        try:
            connection.request("GET", path, headers={"Host": host})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def until_status(self, listener: str, host: str, status: int) -> None:
        """Until a request is answered with this status."""
        self._until(lambda: self.get(listener, host)[0] == status, f"{host}: {status}")

    def until(self, listener: str, host: str, expected: tuple[int, str]) -> None:
        """Until a request is answered like this."""
        self._until(lambda: self.get(listener, host) == expected, f"{host}: {expected}")

    def _until(self, true: Callable[[], object], what: str) -> None:
        def answered() -> object:
            try:
                return true()
            except (OSError, KeyError, HTTPException):
                return False

        self.server.wait(answered, what)


@contextmanager
def world(folder: Path, *resources: Resource, delta: bool = True, log_level: str = "warning") -> Iterator[World]:
    """A ready Envoy that has these resources."""
    server = ServerProcess(folder / "xds.sock")
    try:
        server.apply(*resources)
        with start(bootstrap(folder / "xds.sock", delta=delta), log_level=log_level) as envoy:
            yield World(server, envoy)
    finally:
        server.stop()
