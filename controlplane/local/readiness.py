"""When a replica gets traffic.

The state is pure arithmetic over probe results, with Kubernetes' thresholds; looking is apart. Probes go straight to
the command, as a kubelet's go straight to the container. One difference: until the first success they run every
tenth of a second at first, later every second at most, because somebody is watching.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable

import grpc
import msgspec

from controlplane.local.manifests import Grpc, HttpGet, Probe
from controlplane.local.plan import ReadyCheck

# (argv, environment, directory) -> exit status.
RunCommand = Callable[[tuple[str, ...]], Awaitable[int]]

_EAGER = 0.1  # seconds between the first looks
_EAGER_LOOKS = 50
_PATIENT = 1.0


class Readiness(msgspec.Struct, frozen=True):
    """What the last probes said."""

    ready: bool = False
    streak: int = 0  # how many results in a row disagree with `ready`
    looks: int = 0

    def after(self, probe: Probe, *, ok: bool) -> "Readiness":
        """One more result."""
        if ok == self.ready:
            return Readiness(self.ready, 0, self.looks + 1)
        needed = probe.success_threshold if ok else probe.failure_threshold
        if self.streak + 1 >= needed:
            return Readiness(ok, 0, self.looks + 1)
        return Readiness(self.ready, self.streak + 1, self.looks + 1)

    def wait(self, probe: Probe) -> float:
        """Seconds until the next look."""
        if self.ready:
            return max(_EAGER, probe.period_seconds)
        return min(_EAGER if self.looks < _EAGER_LOOKS else _PATIENT, max(_EAGER, probe.period_seconds))


async def look(check: ReadyCheck, address: str, run_command: RunCommand) -> bool:
    """One probe. Never raises for what the command does."""
    probe = check.probe
    try:
        async with asyncio.timeout(max(0.1, probe.timeout_seconds)):
            if probe.exec is not None:
                return await run_command(probe.exec.command) == 0
            if probe.http_get is not None and check.port:
                return await _http_ok(probe.http_get, address, check.port)
            if probe.grpc is not None and check.port:
                return await _grpc_ok(probe.grpc, address, check.port)
            return await _opens(address, check.port) if check.port else True
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
        return False


async def _opens(address: str, port: int) -> bool:
    _, writer = await asyncio.open_connection(address, port)
    writer.close()
    return True


async def _http_ok(get: HttpGet, address: str, port: int) -> bool:
    context = _unverified() if get.scheme.upper() == "HTTPS" else None
    reader, writer = await asyncio.open_connection(address, port, ssl=context)
    try:
        headers = {"Host": f"{address}:{port}", "User-Agent": "kube-probe/lateen", "Connection": "close"}
        headers |= {header.name: header.value for header in get.http_headers}
        lines = [f"GET {get.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        status = int((await reader.readline()).split(b" ", 2)[1])
    except IndexError:
        return False
    else:
        return 200 <= status < 400
    finally:
        writer.close()


async def _grpc_ok(probe: Grpc, address: str, port: int) -> bool:
    """grpc.health.v1: a request with the service's name in field 1, an answer with SERVING (1) in field 1."""
    name = probe.service.encode()[:127]
    request = bytes([10, len(name)]) + name if name else b""
    options = [("grpc.enable_http_proxy", 0)]  # a probe goes to the command, whatever our own environment says
    async with grpc.aio.insecure_channel(f"{address}:{port}", options=options) as channel:
        try:
            answer: bytes = await channel.unary_unary("/grpc.health.v1.Health/Check")(request)
        except grpc.aio.AioRpcError:
            return False
    return answer == b"\x08\x01"


def _unverified() -> ssl.SSLContext:
    """A kubelet does not check the certificate of what it probes either."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
