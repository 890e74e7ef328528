"""One replica, running: its sidecar, its commands, and what is known of its health."""

import asyncio
from collections.abc import Callable

from controlplane.local import sockets
from controlplane.local.children import StartError
from controlplane.local.node import gateway_node, sidecar_node
from controlplane.local.objects import Health
from controlplane.local.plan import GatewayProxy, Replica
from controlplane.local.processes import CommandProcess, Machine, ProxyProcess
from controlplane.local.readiness import Readiness, look
from controlplane.runtime.backoff import BackoffPolicy
from controlplane.runtime.tasks import Supervisor, Work

_RESTARTS = BackoffPolicy(first=0.2, factor=2.0, longest=10.0, healthy_after=10.0)
_SUSPICIOUS_AFTER = 3.0  # seconds a command may take to listen before we look where it listens


class RunningReplica:
    """Runs one replica of the plan until cancelled. `changed` is called whenever its health may be another."""

    def __init__(self, replica: Replica, machine: Machine, changed: Callable[[], None]) -> None:
        self.replica = replica
        self.terminating = False
        self.restarts = 0
        self.elsewhere = ""  # where the command listens instead, in words
        self._machine = machine
        self._changed = changed
        self._readiness = Readiness()
        name = f"{replica.namespace}.{replica.name}"
        self.envoy = ProxyProcess(name, sidecar_node(replica), machine, self._noticed)
        self.commands = tuple(
            CommandProcess(f"{name}.{spec.container or 'app'}", spec, machine, self._noticed)
            for spec in replica.processes
        )

    @property
    def health(self) -> Health:
        """What the mesh is told."""
        if self.terminating:
            return Health.TERMINATING
        if self._readiness.ready and self.envoy.ready:
            return Health.READY
        return Health.UNREADY if self.restarts else Health.STARTING

    @property
    def note(self) -> str:
        """What a person should know about it; empty when all is well."""
        if self.replica.missing:
            return self.replica.missing
        if self.health is Health.READY:
            return ""
        words = [command.last_words for command in self.commands]
        return self.elsewhere or next((last for last in (*words, self.envoy.last_words) if last), "")

    async def run(self) -> None:
        """Until cancelled; then everything of it has ended."""
        async with Supervisor(self._machine.clock, policy=_RESTARTS) as tasks:
            if not self.replica.missing:
                tasks.restarted(f"{self.envoy.name} sidecar", self._counting(self.envoy.run))
                for command in self.commands:
                    tasks.restarted(command.name, self._counting(command.run))
                tasks.critical(f"{self.envoy.name} readiness", self._probe)
            await tasks.wait()

    def _counting(self, work: Work) -> Work:
        async def counted() -> None:
            try:
                await work()
            except Exception:
                self.restarts += 1
                raise

        return counted

    def _noticed(self) -> None:
        """A process began, got ready or ended. A command that is not there cannot be ready."""
        if any(command.pid is None for command in self.commands):
            self._readiness = Readiness()
        self._changed()

    async def _probe(self) -> None:
        probe = self.replica.check.probe
        await asyncio.sleep(probe.initial_delay_seconds)
        while True:
            running = all(command.pid is not None for command in self.commands)
            ok = running and await look(self.replica.check, self.replica.address, self._run_command)
            before, self._readiness = self._readiness, self._readiness.after(probe, ok=ok)
            await self._suspect(ok=ok)
            if before.ready != self._readiness.ready:
                self._changed()
            await asyncio.sleep(self._readiness.wait(probe))

    async def _suspect(self, *, ok: bool) -> None:
        """A command that runs but does not listen where it should: find out where it does."""
        port = self.replica.check.port
        first = self.commands[0] if self.commands else None
        if ok or not port or first is None or first.pid is None:
            self.elsewhere = ""
            return
        if self._machine.clock.monotonic() - first.started < _SUSPICIOUS_AFTER:
            return
        found = await asyncio.to_thread(sockets.listening_of_session, first.pid)
        words = listens_elsewhere(found, self.replica.address, port)
        if words != self.elsewhere:
            self.elsewhere = words
            self._changed()

    async def _run_command(self, argv: tuple[str, ...]) -> int:
        """An exec probe, as the command would run it."""
        machine, check = self._machine, self.replica.check
        name = f"{self.envoy.name}.probe"
        env = {**machine.environ, **check.env}
        try:
            child = await machine.children.start(
                name, argv, env=env, directory=check.directory, log=machine.state.log(name)
            )
        except StartError:
            return 1
        try:
            return await child.wait()
        finally:
            await child.end(grace=0.5)


def listens_elsewhere(found: tuple[tuple[str, int], ...], address: str, port: int) -> str:
    """What to tell the author of a command that does not listen on `address:port`."""
    advice = "listen on $HOST and $PORT, or use {host} and {port} in its command"
    reachable = {(address, port), ("0.0.0.0", port), ("::", port)}  # noqa: S104  (compared, not bound)
    if reachable.intersection(found):
        return "it listens, but its readiness probe fails"
    if not found:
        return f"it does not listen on {address}:{port} yet: {advice}"
    where = ", ".join(f"{host}:{number}" for host, number in found)
    return f"it listens on {where} instead of {address}:{port}: {advice}"


class RunningGateway:
    """Runs one gateway Envoy until cancelled."""

    def __init__(self, proxy: GatewayProxy, machine: Machine, changed: Callable[[], None]) -> None:
        self.proxy = proxy
        self._machine = machine
        self.envoy = ProxyProcess(f"{proxy.namespace}.{proxy.name}", gateway_node(proxy), machine, changed)

    @property
    def note(self) -> str:
        """What a person should know about it; empty when all is well."""
        return "" if self.envoy.ready else self.envoy.last_words

    async def run(self) -> None:
        """Until cancelled; then its Envoy has ended."""
        async with Supervisor(self._machine.clock, policy=_RESTARTS) as tasks:
            tasks.restarted(f"{self.envoy.name} gateway", self.envoy.run)
            await tasks.wait()
