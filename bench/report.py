"""Figures as Markdown that people can read in a terminal, too: pure functions of what the benchmarks print as JSON."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

TEMPLATE = Path(__file__).parent / "performance.md"
KINDS = ("endpoint", "weight", "destination rule", "new service")
POLICIES = ("peer authentication", "authorization")  # of one workload


def page(found: Mapping[str, Any]) -> str:
    """docs/performance.md, from the results of all benchmarks."""
    serving = found["serving"]
    parts = {
        "machine": of_machine(serving["machine"]),
        "full": full_compiles(found["compile"]["sizes"]),
        "scopes": scopes(found["compile"]["scopes"]),
        "changes": changes(found["compile"]["sizes"]),
        "connecting": connecting(serving["runs"]),
        "pushing": pushing(serving["runs"]),
        "bare": of_bare(serving["bare"]),
        "envoys": envoys(serving["envoys"]),
        "lag": of_lag(found["lag"]),
        "store": of_store(found["store"]),
        "cluster": of_cluster(found["cluster"]),
        "peer": against_peer(found["compile"]["sizes"], serving["runs"]),
        "largest": f"{_largest(serving['runs'])['services']:,}",
        "proxies": f"{serving['runs'][0]['proxies']:,}",
    }
    return Template(TEMPLATE.read_text()).substitute(parts)


# What each benchmark prints by itself


def of_compile(found: Mapping[str, Any]) -> str:
    parts = [full_compiles(found["sizes"]), changes(found["sizes"])]
    return "\n\n".join(parts + ([scopes(found["scopes"])] if "scopes" in found else []))


def of_serving(found: Mapping[str, Any]) -> str:
    parts = [of_machine(found["machine"]), connecting(found["runs"]), pushing(found["runs"]), of_bare(found["bare"])]
    return "\n\n".join(parts + ([envoys(found["envoys"])] if found["envoys"] else []))


def of_machine(facts: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def of_bare(found: Mapping[str, float]) -> str:
    return (
        f"A bare `grpc.aio` server that writes the same {found['bytes']:,} bytes to {found['proxies']:,} streams: "
        f"{number(found['CPU us a proxy'])} µs of CPU a proxy, the last has it after {number(found['last ms'])} ms."
    )


def of_lag(found: Mapping[str, float]) -> str:
    head = ("recompilation", "p50 ms", "p99 ms", "p99.9 ms", "longest ms", "p99.9 of CPU ms", "endpoint changes")
    each = f"{number(found['seconds each'])} s, {number(found['CPU s each'])} s CPU"
    names = ("p50 ms", "p99 ms", "p99.9 ms", "p100 ms", "p99.9 CPU ms", "endpoint changes")
    return table(head, [(each, *(number(found[name]) for name in names))])


def of_cluster(found: Mapping[str, float]) -> str:
    head = ("services", "objects", "MB of JSON", "CPU s", "wall s")
    return table(head, [tuple(map(number, (found[name] for name in ("services", "objects", "MB", "CPU s", "wall s"))))])


def of_store(found: Iterable[Mapping[str, Any]]) -> str:
    rows = [(one["name"], number(one["value"]), one["unit"], number(one["bar"]) if one["bar"] else "") for one in found]
    return table(("", "figure", "unit", "at most"), rows)


# Tables


def full_compiles(sizes: Iterable[Mapping[str, Any]]) -> str:
    head = ("services", "first proxy, CPU s", "second proxy, CPU ms", "resources", "MB a proxy", "peak RSS MB")
    rows = [
        (
            f"{one['services']:,}",
            number(one["full compile s"]),
            number(one["second proxy ms"]),
            f"{sum(one['resources'].values()):,}",
            number(one["bytes a proxy"] / 1e6),
            number(one["peak RSS MB"]),
        )
        for one in sizes
    ]
    return table(head, rows)


def scopes(found: Mapping[str, float]) -> str:
    rows = [
        ("first compile, CPU s", *(number(found[key]) for key in ("one scope s", "200 label sets s", "ratio"))),
        ("held, MB", *(number(found[key]) for key in ("one scope MB", "200 label sets MB", "memory ratio"))),
    ]
    return table(("", "one label set", "200 label sets", "times"), rows)


def changes(sizes: Sequence[Mapping[str, Any]]) -> str:
    """Rows are kinds of change, columns sizes; what is sent is the same at every size, or it would be seen here."""
    at = [f"{one['services']:,}" for one in sizes]
    head = ("change", *(f"µs at {size}" for size in at), *(f"functions at {size}" for size in at), "resources", "bytes")
    rows = []
    for kind in (*KINDS, *POLICIES):
        of_kind = [one["changes"][kind] for one in sizes]
        told = ("resources", "bytes")
        rows.append(
            (
                kind,
                *(number(one["us"]) for one in of_kind),
                *(number(one["functions"]) for one in of_kind),
                *(" / ".join(dict.fromkeys(number(one[each]) for one in of_kind)) for each in told),
            )
        )
    return table(head, rows)


def connecting(runs: Iterable[Mapping[str, Any]]) -> str:
    head = (
        "services", "transport", "connect, CPU s", "first s", "last s", "MB a proxy", "peak RSS MB", "RSS after MB",
        "reconnect, CPU s", "last s", "resources sent",
    )  # fmt: skip
    rows = []
    for run in runs:
        first, again = run["connect"], run["reconnect"]
        figures = (
            first["CPU s"], first["first proxy s"], first["wall s"], first["bytes a proxy"] / 1e6,
            first["peak RSS MB"], first["RSS after MB"], again["CPU s"], again["wall s"], again["resources"],
        )  # fmt: skip
        rows.append((f"{run['services']:,}", run["transport"], *map(number, figures)))
    return table(head, rows)


def pushing(runs: Iterable[Mapping[str, Any]]) -> str:
    head = (
        "services",
        "transport",
        "change",
        "CPU µs a proxy",
        "CPU ms",
        "last ms",
        "resources a proxy",
        "bytes a proxy",
    )
    names = ("CPU us a proxy", "CPU ms", "last ms", "resources a proxy", "bytes a proxy")
    rows = [
        (f"{run['services']:,}", run["transport"], kind, *(number(run["changes"][kind][name]) for name in names))
        for run in runs
        for kind in KINDS
    ]
    return table(head, rows)


def envoys(runs: Iterable[Mapping[str, Any]]) -> str:
    head = ("services", "", "our CPU ms", "Envoy's CPU ms", "Envoy's RSS MB")
    rows: list[Sequence[str]] = []
    for run in runs:
        services, first = f"{run['services']:,}", run["connect"]
        rows.append((services, "connect", "", number(first["Envoy CPU s"] * 1e3), number(first["Envoy RSS MB"])))
        for kind in KINDS:
            figures = (number(run["changes"][kind][name]) for name in ("our CPU ms", "Envoy CPU ms"))
            rows.append([services, kind, *figures, ""])
    return table(head, rows)


# istiod, as docs/performance.md describes how it was measured; 5,000 services, 500 proxies where nothing else is said.
PEER: Sequence[tuple[str, str, str]] = (
    ("first configuration, one proxy", "1.8 s CPU", "first"),
    ("connect, CPU", "230 s", "connect CPU"),
    ("connect, until the last", "142 s", "connect wall"),
    ("connect, sent to a proxy", "15.3 MB", "connect bytes"),
    ("memory, peak / after", "12.2 / 6.4 GB", "memory"),
    ("reconnect, CPU", "216 s", "reconnect CPU"),
    ("endpoint change, CPU / last / bytes a proxy", "0.47 s / 0.63 s / 1.1 kB", "endpoint"),
    ("weight change", "21.8 s / 12.3 s / 3.3 MB", "weight"),
    ("DestinationRule change", "21.9 s / 12.1 s / 3.3 MB", "destination rule"),
    ("new Service (istiod: to 100 proxies)", "6.2 s / 3.7 s / 3.3 MB", "new service"),
)


def against_peer(sizes: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]]) -> str:
    run = _largest(runs)
    first, again = run["connect"], run["reconnect"]
    ours = {
        "first": f"{number(sizes[-1]['full compile s'])} s CPU",
        "connect CPU": f"{number(first['CPU s'])} s",
        "connect wall": f"{number(first['wall s'])} s",
        "connect bytes": f"{number(first['bytes a proxy'] / 1e6)} MB",
        "memory": f"{number(first['peak RSS MB'] / 1000)} / {number(first['RSS after MB'] / 1000)} GB",
        "reconnect CPU": f"{number(again['CPU s'])} s",
        **{kind: _in_peer_units(run["changes"][kind]) for kind in KINDS},
    }
    return table(("", "istiod", "Lateen"), [(what, theirs, ours[key]) for what, theirs, key in PEER])


def _in_peer_units(change: Mapping[str, float]) -> str:
    figures = (change["CPU ms"] / 1e3, change["last ms"] / 1e3, change["bytes a proxy"] / 1e3)
    return "{} s / {} s / {} kB".format(*map(number, figures))


def _largest(runs: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The run with most services; of several, the one over a Unix socket, which comes first."""
    return max(runs, key=lambda run: int(run["services"]))


def number(value: float) -> str:
    """Three figures that count."""
    if value and abs(value) < 100:
        return f"{value:.3g}"
    return f"{value:,.0f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table with aligned columns: text to the left, figures to the right."""
    cells = [tuple(head), *map(tuple, rows)]
    widths = [max(3, *(len(row[at]) for row in cells)) for at in range(len(head))]
    right = [at > 0 and all(_is_figure(row[at]) for row in cells[1:]) for at in range(len(head))]
    lines = [_line(row, widths, right) for row in cells]
    rule = "|".join(
        "-" * (width + 1) + (":" if to_right else "-") for width, to_right in zip(widths, right, strict=True)
    )
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def _is_figure(cell: str) -> bool:
    return not cell or cell[0].isdigit() or cell[0] == "-"


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    cells = (
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(row, widths, right, strict=True)
    )
    return f"| {' | '.join(cells)} |"
