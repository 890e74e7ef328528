"""The live table, as terminals of all widths show it."""

import io

import pytest
from rich.console import Console

from controlplane.local.show import ReplicaRow, ShareRow, Shown, table
from controlplane.model.problem import Level

NOTE = (Level.INFO, "a note")
CALLS = ShareRow("bill-service.istio-demo.svc.cluster.local:9999", "bill-v1", 90.0, 90, 1000, 0)


def replica(name: str, namespace: str = "demo", address: str = "127.120.219.110") -> ReplicaRow:
    proxy = f"http://{address}:15080"
    return ReplicaRow(namespace, name, name, "starting", address, proxy, ("80 at 10080 -> 20080",), 3, "")


def drawn(width: int, *rows: ReplicaRow, problems: tuple[tuple[Level, str], ...] = ()) -> str:
    output = io.StringIO()
    Console(width=width, file=output).print(
        table(Shown(settled=True, replicas=rows, gateways=(), traffic=(CALLS,), problems=problems))
    )
    return output.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_what_a_reader_types_again_is_never_cut(width: int) -> None:
    text = drawn(width, replica("bill-service-v1-6c8f2-0"))
    assert "127.120.219.110 " in text
    assert "starting " in text
    assert "…" not in text
    header, *lines = text.partition("call as")[0].splitlines()
    assert "".join(line[: header.index("state")].strip() for line in lines) == "bill-service-v1-6c8f2-0"
    assert max(len(line) for line in text.splitlines()) <= width


def test_namespaces_are_shown_where_there_are_several() -> None:
    assert "demo/" not in drawn(100, replica("a"), replica("b"))
    assert "other/b" in drawn(100, replica("a"), replica("b", "other"))


@pytest.mark.parametrize(
    ("problems", "last"),
    [
        ((), ""),
        ((NOTE,), "1 note: lateen problems"),
        (((Level.ERROR, "bad"), NOTE, NOTE), "2 notes: lateen problems"),
        (((Level.ERROR, "bad"),) * 10 + (NOTE,), "2 more problems and 1 note: lateen problems"),
    ],
)
def test_notes_are_counted_and_problems_are_shown(problems, last: str) -> None:
    text = drawn(100, replica("a"), problems=problems)
    assert text.count("bad") == min(8, sum(line == "bad" for _, line in problems))
    assert "a note" not in text
    assert text.rstrip().endswith(last)
