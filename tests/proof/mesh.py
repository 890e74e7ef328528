"""A mesh whose control plane is a process that may be killed.

`lateen up` ends its Envoys when it ends. Here they are processes of the test: the plan of `lateen up` says what runs
where and what the mesh is told, `lateen serve` serves a directory that holds all of it, and Envoys and commands live
on when it dies. The objects, bootstraps and the control plane are the product's own.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import create_connection
from typing import Any, Self

import yaml
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.extensions.resource_monitors.downstream_connections.v3 import downstream_connections_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf import json_format

from controlplane.cli.asking import Whom, ask
from controlplane.cli.refusal import Refused
from controlplane.envoy.bootstrap import ProxyBootstrap, UnixServer, bootstrap
from controlplane.local import lateenfile
from controlplane.local.commands import PROXY_VARIABLES
from controlplane.local.node import sidecar_node
from controlplane.local.objects import Health
from controlplane.local.plan import Inputs, Plan, ProcessSpec, Replica
from controlplane.local.planner import plan
from controlplane.local.publishing import world
from controlplane.local.up import program_exists
from controlplane.model.decode import decode
from controlplane.sources.files.once import read_once
from controlplane.sources.files.scanning import Roots
from tests.envoys import RunningEnvoy, start
from tests.envoys.process import stop, wait_for

# What the bootstrap packs into an Any; JSON can only be read by who has imported these.
_PACKED = (http_protocol_options_pb2, downstream_connections_pb2)
OBJECTS = "local-objects.yaml"
SETTLED = frozenset({"SYNCED", "NOT SENT"})


def all_here(folder: Path) -> Path:
    """A file with the settings of a mesh whose every endpoint stands on this machine."""
    path = folder / "all-here.json"
    path.write_text('{"refuseLocalEndpoints": false}')
    return path


class ControlPlaneProcess:
    """`lateen serve` on a directory, started as often as one likes."""

    def __init__(self, directory: Path, xds_socket: Path, log: Path) -> None:
        self.directory = directory
        self.xds_socket = xds_socket
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers questions."""
        command = [sys.executable, "-m", "controlplane.cli.main", "serve", str(self.directory)]
        command += ["--mesh-config", str(all_here(self.log.parent))]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--xds-socket", str(self.xds_socket)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_for(self._answers, lambda: f"the control plane:\n{self.log.read_text()[-4000:]}", self.check_alive)

    def kill(self) -> None:
        """SIGKILL: it cannot say goodbye to anybody."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            stop(self._process)

    def check_alive(self) -> None:
        assert self._process is not None
        assert self._process.poll() is None, f"the control plane left:\n{self.log.read_text()[-4000:]}"

    def ask(self, target: str, **query: str) -> Any:
        """A question to its debug socket, as `lateen proxy-config` asks it."""
        return ask(Whom(self.directory), target, **query)

    def _answers(self) -> bool:
        try:
            self.ask("/version")
        except Refused:
            return False
        return True


class ProofMesh:
    """Everything of a directory with manifests and `Lateenfile`, running. Use `running`."""

    def __init__(self, folder: Path, directory: Path, *, delta: bool) -> None:
        self.directory = directory
        self.delta = delta
        self.plan = planned(self.directory)
        self.control = ControlPlaneProcess(self.directory, folder / "xds.sock", folder / "serve.log")
        self.envoys: dict[str, RunningEnvoy] = {}  # by the name the control plane knows the proxy by
        self._processes: list[subprocess.Popen[bytes]] = []

    def run(self, stack: ExitStack) -> Self:
        """Starts everything; `stack` ends it."""
        self._tell_objects()
        stack.callback(self.control.stop)
        self.control.start()
        for replica in self.plan.replicas:
            for spec in replica.processes:
                stack.callback(stop, started(spec))
            self.envoys[f"{replica.name}.{replica.namespace}"] = stack.enter_context(self._envoy(replica))
        for address in [(replica.address, port.command) for replica in self.plan.replicas for port in replica.ports]:
            wait_listening(*address)
        self.wait_synced()
        return self

    # What a user does

    def write(self, name: str, *objects: Mapping[str, Any]) -> None:
        """A file of the directory, replaced as a whole; without objects, removed."""
        path = self.directory / name
        if not objects:
            path.unlink(missing_ok=True)
            return
        fresh = path.with_suffix(".new")
        fresh.write_text(yaml.safe_dump_all(objects))
        fresh.rename(path)

    def wait_synced(self) -> None:
        """Until every proxy is connected and has all it should have."""
        wait_for(self._synced, lambda: f"all proxies to be synced: {self.statuses()}", self.control.check_alive)

    def statuses(self) -> dict[str, Mapping[str, str]]:
        """Proxy -> type ("CDS") -> state, of the streams that are open now."""
        return {one["name"]: {kind: each["state"] for kind, each in one["types"].items()} for one in self.proxies()}

    def proxies(self) -> list[dict[str, Any]]:
        """All that is known of the streams that are open now."""
        found: list[dict[str, Any]] = self.control.ask("/proxies")
        return found

    def config(self, proxy: str) -> Mapping[str, Any]:
        """What a proxy should have."""
        found: Mapping[str, Any] = self.control.ask("/config", proxy=proxy)
        return found

    def replica(self, workload: str) -> Replica:
        return next(each for each in self.plan.replicas if each.workload.name == workload)

    def proxy(self, workload: str) -> str:
        replica = self.replica(workload)
        return f"{replica.name}.{replica.namespace}"

    def _synced(self) -> bool:
        statuses = self.statuses()
        return statuses.keys() == self.envoys.keys() and all(
            state in SETTLED for types in statuses.values() for state in types.values()
        )

    def _tell_objects(self) -> None:
        health = {replica.key: Health.READY for replica in self.plan.replicas}
        self.write(OBJECTS, *plain(world(self.plan, (), health).values()))

    @contextmanager
    def _envoy(self, replica: Replica) -> Iterator[RunningEnvoy]:
        node, server = sidecar_node(replica), UnixServer(str(self.control.xds_socket))
        proxy = ProxyBootstrap(
            node_id=node.id, cluster=node.cluster, server=server, admin="/overridden", metadata=node.metadata
        )
        message = json_format.Parse(bootstrap(proxy, Path()).to_json(), bootstrap_pb2.Bootstrap())
        ads = message.dynamic_resources.ads_config
        ads.api_type = ads.DELTA_GRPC if self.delta else ads.GRPC
        with start(message) as envoy:
            yield envoy


@contextmanager
def running(lay_out: Callable[[Path], Path], *, delta: bool = True) -> Iterator[ProofMesh]:
    """`lay_out` writes manifests below a folder and says where. The folder's path is short, as those of sockets are."""
    with tempfile.TemporaryDirectory(prefix="lateen-") as folder, ExitStack() as stack:
        yield ProofMesh(Path(folder), lay_out(Path(folder)), delta=delta).run(stack)


def planned(directory: Path) -> Plan:
    """What `lateen up` would run of a directory."""
    manifests = read_once(Roots((directory,)), decode).manifests
    inputs = Inputs(
        manifests={ref: manifest for ref, manifest in manifests.items() if manifest is not None},
        file=lateenfile.load((directory / lateenfile.NAME,)),
        mesh=str(directory),
        directory=directory,
        exists=program_exists,
        python=sys.executable,
    )
    return plan(inputs)


def started(spec: ProcessSpec) -> "subprocess.Popen[bytes]":
    environ = {key: value for key, value in os.environ.items() if key not in PROXY_VARIABLES} | dict(spec.env)
    quiet = subprocess.DEVNULL
    return subprocess.Popen(spec.argv, cwd=spec.directory, env=environ, stdin=quiet, stdout=quiet, stderr=quiet)


def plain(values: Any) -> list[Any]:
    """YAML knows no enumerations."""
    return [json.loads(json.dumps(value)) for value in values]


def wait_listening(host: str, port: int) -> None:
    wait_for(lambda: _listens(host, port), lambda: f"a command that listens on {host}:{port}", _nothing)


def _listens(host: str, port: int) -> bool:
    try:
        create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def _nothing() -> None:
    """Nobody whose death would end the wait."""
