"""What a person sees of a running mesh, as values; and the table made of them."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from controlplane.local.mesh import Mesh
from controlplane.local.objects import Health
from controlplane.local.running import RunningGateway, RunningReplica
from controlplane.local.traffic import Share
from controlplane.model.problem import Level, Problem

if TYPE_CHECKING:
    from rich.console import ConsoleRenderable, Group
    from rich.table import Table
    from rich.text import Text

_MOST_PROBLEMS = 8


class ReplicaRow(msgspec.Struct, frozen=True):
    """One replica."""

    namespace: str
    workload: str
    name: str
    state: str
    address: str
    http_proxy: str
    ports: tuple[str, ...]  # "80 at 10080 -> 20080": container's, sidecar's, command's
    restarts: int
    note: str


class GatewayRow(msgspec.Struct, frozen=True):
    """One gateway."""

    namespace: str
    name: str
    state: str
    ports: tuple[str, ...]  # "80 at http://127.0.0.1:10080"


class ShareRow(msgspec.Struct, frozen=True):
    """Calls to one host that one workload answered."""

    host: str
    workload: str
    percent: float  # of the recent calls to this host
    recent: int
    total: int
    errors: int


class Shown(msgspec.Struct, frozen=True):
    """All there is to see at one moment."""

    settled: bool
    replicas: tuple[ReplicaRow, ...]
    gateways: tuple[GatewayRow, ...]
    traffic: tuple[ShareRow, ...]
    problems: tuple[tuple[Level, str], ...]  # each as one line


def shown(mesh: Mesh) -> Shown:
    """The mesh as it is now."""
    return Shown(
        mesh.is_settled(),
        tuple(_replica(running) for running in mesh.replicas()),
        tuple(_gateway(running) for running in mesh.gateways()),
        tuple(_shares(mesh.traffic.shares(mesh.workload_of))),
        tuple((problem.level, one_line(problem, mesh.place_of(problem))) for problem in mesh.problems()),
    )


def table(now: Shown) -> "Group":
    """For a terminal."""
    from rich.console import Group  # noqa: PLC0415  (rich costs 40 ms; `lateen --help` does not need it)

    parts: list[ConsoleRenderable | str] = [_replica_table(now.replicas), _hint(now.replicas), ""]
    if now.gateways:
        parts += [_gateway_table(now.gateways), ""]
    return Group(*parts, _traffic_table(now.traffic), *_problem_lines(now.problems))


def _hint(rows: Sequence[ReplicaRow]) -> str:
    """How to call as one of the replicas, said once."""
    port = next((row.http_proxy.rpartition(":")[2] for row in rows), "")
    return f"[dim]call as a replica: curl -x http://ADDRESS:{port} http://SERVICE:PORT/[/]" if port else ""


def one_line(problem: Problem, place: str = "") -> str:
    """A problem as one line of text, as compilers write theirs. A file's problem names its place itself."""
    if problem.origin.ref.kind == "File":
        return f"{problem.level}: {problem.message} [{problem.code}]"
    where = f"{place}: " if place else ""
    return f"{problem.level}: {where}{problem.origin}: {problem.message} [{problem.code}]"


def _replica(running: RunningReplica) -> ReplicaRow:
    replica = running.replica
    ports = tuple(f"{port.container} at {port.inbound} -> {port.command}" for port in replica.ports)
    state = "no command" if replica.missing else str(running.health)
    return ReplicaRow(
        replica.namespace,
        replica.workload.name,
        replica.name,
        state,
        replica.address,
        f"http://{replica.address}:{replica.http_proxy_port}",
        ports,
        running.restarts,
        running.note,
    )


def _gateway(running: RunningGateway) -> GatewayRow:
    proxy = running.proxy
    ports = tuple(f"{port.number} at {_url(proxy.address, port.bound, port.protocol)}" for port in proxy.ports)
    return GatewayRow(proxy.namespace, proxy.name, "ready" if running.envoy.ready else "starting", ports)


def _url(address: str, port: int, protocol: str) -> str:
    scheme = {"HTTP": "http://", "HTTP2": "http://", "GRPC": "http://", "HTTPS": "https://"}.get(protocol.upper(), "")
    return f"{scheme}{address}:{port}"


def _shares(shares: Sequence[Share]) -> Iterable[ShareRow]:
    recent: dict[str, int] = {}
    for share in shares:
        recent[share.host] = recent.get(share.host, 0) + share.recent
    for share in shares:
        percent = 100 * share.recent / recent[share.host] if recent[share.host] else 0.0
        yield ShareRow(share.host, share.workload, round(percent, 1), share.recent, share.total, share.errors)


_COLOURS: dict[str, str] = {Health.READY: "green", Health.TERMINATING: "yellow", Health.STARTING: "yellow"}


def _replica_table(rows: Sequence[ReplicaRow]) -> "Table":
    restarted = any(row.restarts for row in rows)
    made = _table("replica", "state", "address", "ports", *(["restarts"] if restarted else []))
    made.columns[0].overflow, made.columns[0].min_width = "fold", 12
    for column in made.columns[1:3]:
        column.no_wrap, column.overflow = True, "fold"  # what is typed again is never cut, however narrow the terminal
    spread = len({row.namespace for row in rows}) > 1
    for row in rows:
        colour = _COLOURS.get(row.state, "red")
        made.add_row(
            f"{row.namespace}/{row.name}" if spread else row.name,
            f"[{colour}]{row.state}[/]",
            row.address,
            "\n".join(row.ports),
            *([str(row.restarts or "")] if restarted else []),
        )
    return made


def _gateway_table(rows: Sequence[GatewayRow]) -> "Table":
    made = _table("gateway", "state", "ports")
    for row in rows:
        made.add_row(f"{row.namespace}/{row.name}", row.state, "\n".join(row.ports))
    return made


def _traffic_table(rows: Sequence[ShareRow]) -> "Table":
    made = _table("calls to", "answered by", "share, last 10 s", "calls", "errors")
    made.columns[0].overflow = "fold"
    previous = ""
    for row in rows:
        bar = "█" * round(row.percent / 10)
        share = f"{row.percent:5.1f} % {bar}" if row.recent else ""
        host = row.host.replace(".svc.cluster.local", "") if row.host != previous else ""
        made.add_row(host, row.workload, share, str(row.total), str(row.errors))
        previous = row.host
    if not rows:
        made.add_row("[dim]no calls yet[/]", "", "", "", "")
    return made


def _table(*columns: str) -> "Table":
    from rich.table import Table  # noqa: PLC0415  (as above)

    made = Table(*columns, box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    made.title_justify = "left"
    return made


def _problem_lines(problems: Sequence[tuple[Level, str]]) -> Iterable["Text"]:
    from rich.text import Text  # noqa: PLC0415  (as above)

    colours = {Level.ERROR: "red", Level.WARNING: "yellow"}
    wrong = [(level, line) for level, line in problems if level in colours]
    for level, line in wrong[:_MOST_PROBLEMS]:
        yield Text(line, style=colours[level])
    rest = [f"{len(wrong) - _MOST_PROBLEMS} more problems"] if len(wrong) > _MOST_PROBLEMS else []
    if notes := len(problems) - len(wrong):
        rest.append("1 note" if notes == 1 else f"{notes} notes")
    if rest:
        yield Text(f"{' and '.join(rest)}: lateen problems", style="dim")
