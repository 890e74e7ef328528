"""The live table, as terminals of all widths show it."""

import io

import pytest
from rich.console import Console

from controlplane.local.show import ReplicaRow, ShareRow, Shown, table

CALLS = ShareRow("bill.demo.svc.cluster.local", "bill-v1", 90.0, 90, 1000, 0)


def replica(name: str, namespace: str = "demo", address: str = "127.120.219.110") -> ReplicaRow:
    proxy = f"http://{address}:15080"
    return ReplicaRow(namespace, name, name, "starting", address, proxy, ("80 at 10080 -> 20080",), 3, "")


def drawn(width: int, *rows: ReplicaRow) -> str:
    output = io.StringIO()
    Console(width=width, file=output).print(
        table(Shown(settled=True, replicas=rows, gateways=(), traffic=(CALLS,), problems=()))
    )
    return output.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_what_a_reader_types_again_is_never_cut(width: int) -> None:
    text = drawn(width, replica("bill-service-v1-6c8f2-0"))
    assert "127.120.219.110 " in text
    assert "starting " in text
    header, *lines = text.partition("call as")[0].splitlines()
    assert "".join(line[: header.index("state")].strip() for line in lines) == "bill-service-v1-6c8f2-0"
    assert max(len(line) for line in text.splitlines()) <= width


def test_namespaces_are_shown_where_there_are_several() -> None:
    assert "demo/" not in drawn(100, replica("a"), replica("b"))
    assert "other/b" in drawn(100, replica("a"), replica("b", "other"))
