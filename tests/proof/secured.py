"""A mesh whose workloads have identities, and whose control plane is a process that may be killed.

As `mesh.py`, but each Envoy has its agent, which gets a certificate from `lateen serve --identity` with a token from
`lateen ca token`, and starts Envoy: nothing here knows a key, or a bootstrap.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec
import yaml

from controlplane.cli.asking import Whom, ask, tell
from controlplane.cli.refusal import Refused
from controlplane.local.envoys import envoy_binary
from controlplane.local.node import sidecar_node
from controlplane.local.objects import Health
from controlplane.local.plan import Replica
from controlplane.local.processes import agent_command, write_fresh
from controlplane.local.publishing import world
from controlplane.runtime.unixhttp import request_blocking
from tests.envoys.process import stop, wait_for
from tests.ports import free_port
from tests.proof.mesh import OBJECTS, SETTLED, all_here, plain, planned, started, wait_listening

SERVER_NAME = "lateend.lateen-system.svc"


class Vouching(msgspec.Struct, frozen=True):
    """See `local.ports.Identities`."""

    directory: Path  # of the mesh
    endpoint: str
    server_name: str = SERVER_NAME

    @property
    def bundle(self) -> Path:
        return self.directory / ".lateen" / "ca" / "trusted.pem"

    def token(self, namespace: str, account: str) -> str:
        found = tell(self.directory, "/ca/token", namespace=namespace, account=account)
        return str(found["token"])


class SecuredProxy:
    """An agent and its Envoy."""

    def __init__(self, name: str, directory: Path, log: Path, process: "subprocess.Popen[bytes]") -> None:
        self.name = name
        self.log = log
        self._directory = directory
        self._process = process

    def admin(self, path: str) -> Any:
        """An answer of Envoy's admin interface, as JSON."""
        status, body = request_blocking(self._directory / "admin.sock", path)
        assert status == 200, body
        return json.loads(body)

    def is_ready(self) -> bool:
        try:
            return request_blocking(self._directory / "admin.sock", "/ready")[0] == 200
        except OSError:
            return False

    def check_alive(self) -> None:
        """An agent ends when its Envoy does, so neither was started anew."""
        assert self._process.poll() is None, f"{self.name} left:\n{self.log.read_text()[-3000:]}"

    def certificate(self) -> str:
        """Serial number of the certificate that Envoy uses now; "" before it has one."""
        chains = (chain for each in self.admin("/certs")["certificates"] for chain in each.get("cert_chain", ()))
        names = {chain["serial_number"]: chain.get("subject_alt_names", ()) for chain in chains}
        return next((serial for serial, sans in names.items() if any("uri" in name for name in sans)), "")

    def roots(self) -> frozenset[str]:
        """Serial numbers of the roots that Envoy trusts; of several, the first that its bundle names."""
        authorities = (one for each in self.admin("/certs")["certificates"] for one in each.get("ca_cert", ()))
        return frozenset(one["serial_number"] for one in authorities)


class SecuredMesh:
    """Everything of a directory with manifests and `Lateenfile`, running. Use `secured`."""

    def __init__(self, folder: Path, directory: Path, lifetime: str) -> None:
        self.directory = directory
        self.plan = planned(directory)
        self.proxies: dict[str, SecuredProxy] = {}  # by workload
        self._folder = folder
        self._log = folder / "serve.log"
        self._ports = (free_port(), free_port())
        self._lifetime = lifetime
        self._control: subprocess.Popen[bytes] | None = None

    def run(self, stack: ExitStack) -> Self:
        """Starts everything; `stack` ends it."""
        health = {replica.key: Health.READY for replica in self.plan.replicas}
        self.write(OBJECTS, *plain(world(self.plan, (), health).values()))
        stack.callback(self.stop)
        self.start()
        for replica in self.plan.replicas:
            for spec in replica.processes:
                stack.callback(stop, started(spec))
            self.proxies[replica.workload.name] = self._proxy(replica, stack)
        for address in [(replica.address, port.command) for replica in self.plan.replicas for port in replica.ports]:
            wait_listening(*address)
        for proxy in self.proxies.values():
            wait_for(proxy.is_ready, proxy.log.read_text, proxy.check_alive)
        wait_for(self._synced, lambda: f"all proxies to be synced: {self.statuses()}", self.check_alive)
        return self

    # The control plane

    def start(self) -> None:
        """Returns when it answers questions."""
        xds, https = (f"127.0.0.1:{port}" for port in self._ports)
        command = [sys.executable, "-m", "controlplane.cli.main", "serve", str(self.directory)]
        command += [
            "--mesh-config",
            str(all_here(self._folder)),
            "--listen",
            xds,
            "--identity",
            https,
            "--certificate-lifetime",
            self._lifetime,
        ]
        with self._log.open("ab") as log:
            self._control = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(self._answers, lambda: f"the control plane:\n{self._log.read_text()[-4000:]}", self.check_alive)

    def kill(self) -> None:
        """SIGKILL: it cannot say goodbye to anybody."""
        assert self._control is not None
        self._control.kill()
        self._control.wait()

    def stop(self) -> None:
        if self._control is not None and self._control.poll() is None:
            stop(self._control)

    def check_alive(self) -> None:
        assert self._control is not None
        assert self._control.poll() is None, f"the control plane left:\n{self._log.read_text()[-4000:]}"

    def ask(self, target: str) -> Any:
        return ask(Whom(self.directory), target)

    def rotate(self, step: str) -> Any:
        """A step of a root rotation; refused, it raises."""
        return tell(self.directory, f"/ca/{step}")

    def statuses(self) -> dict[str, set[str]]:
        return {one["name"]: {each["state"] for each in one["types"].values()} for one in self.ask("/proxies")}

    def write(self, name: str, *objects: Any) -> None:
        """A file of the directory, replaced as a whole."""
        fresh = (self.directory / name).with_suffix(".new")
        fresh.write_text(yaml.safe_dump_all(objects))
        fresh.rename(self.directory / name)

    def replica(self, workload: str) -> Replica:
        return next(each for each in self.plan.replicas if each.workload.name == workload)

    def _proxy(self, replica: Replica, stack: ExitStack) -> SecuredProxy:
        name = f"{replica.name}.{replica.namespace}"
        directory, log = self._folder / f"proxy-{len(self.proxies)}", self._folder / f"{replica.name}.log"
        identities, node = Vouching(self.directory, f"127.0.0.1:{self._ports[1]}"), sidecar_node(replica)
        write_fresh(directory, identities.token(node.namespace, node.account), node.metadata)
        command = agent_command(node, directory, envoy_binary(), identities)
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        stack.callback(stop, process)
        return SecuredProxy(name, directory, log, process)

    def _answers(self) -> bool:
        try:
            self.ask("/version")
        except Refused:
            return False
        return True

    def _synced(self) -> bool:
        statuses = self.statuses()
        return len(statuses) == len(self.proxies) and all(states <= SETTLED for states in statuses.values())


@contextmanager
def secured(lay_out: Callable[[Path], Path], lifetime: str) -> Iterator[SecuredMesh]:
    """`lay_out` writes manifests below a folder and says where. `lifetime`: of certificates, "10s"."""
    with tempfile.TemporaryDirectory(prefix="lateen-") as folder, ExitStack() as stack:
        yield SecuredMesh(Path(folder), lay_out(Path(folder)), lifetime).run(stack)
