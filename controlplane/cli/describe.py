"""`lateen describe`: what acts on a Service or a Pod, and what is wrong with any of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import typer

from controlplane.cli.analyze import of_files
from controlplane.cli.asking import ask
from controlplane.cli.objects import Place, read_mesh
from controlplane.cli.output import Format, print_document, print_table
from controlplane.cli.refusal import Refused
from controlplane.explain.describe import Description, describe_pod, describe_service

_READERS: Final = {"service": describe_service, "pod": describe_pod}
Rows = Sequence[Mapping[str, Any]]


def describe(what: str, name: str, namespace: str, place: Place, output: Format) -> None:
    """Print one description. `name` may have its namespace before it."""
    before, slash, rest = name.partition("/")
    namespace, name = (before, rest) if slash else (namespace, name)
    mesh = read_mesh(place)
    found = _READERS[what](mesh.objects, mesh.settings, namespace, name)
    if found is None:
        raise Refused(f"there is no {what} {namespace}/{name}", code=1)
    known = of_files(place) if place.paths else ask(place.whom, "/problems")
    problems = [row for row in known if row["object"] in found.concerned]
    if output is Format.TABLE:
        _print(found, problems)
    else:
        print_document({**msgspec.to_builtins(found), "problems": problems}, output)


def _print(found: Description, problems: Rows) -> None:
    print_table(("what", "is"), [(found.kind, f"{found.namespace}/{found.name}"), *found.facts.items()])
    ports = [
        (f"{port.service}:{port.number}", port.target, port.protocol, port.declared or "-", port.mutual_tls or "-")
        for port in found.ports
    ]
    _part(("port", "target", "protocol", "declared by", "mutual TLS"), ports)
    workloads = [(one.name, one.kind, one.ready or "-", one.proxy or "-") for one in found.workloads]
    _part(("workload", "kind", "ready", "proxy"), workloads)
    _part(("what acts", "does"), [(rule.object, rule.does) for rule in found.rules])
    rows = [[row[key] for key in ("level", "code", "object", "path", "message")] for row in problems]
    _part(("level", "code", "object", "path", "message"), rows)


def _part(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    if rows:
        typer.echo()
        print_table(columns, rows)
