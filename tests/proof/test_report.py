"""The page of figures: every number of the results is where it belongs, and nothing is left to fill in."""

from typing import Any

from bench import report

CHANGE = {"CPU us a proxy": 118.4, "CPU ms": 59.2, "last ms": 61.0, "resources a proxy": 1.0, "bytes a proxy": 1269.0}
COMPILED = {"us": 210.5, "functions": 9, "resources": 1, "bytes": 1093}


def of_each_kind(figures: dict[str, Any]) -> dict[str, Any]:
    return dict.fromkeys((*report.KINDS, *report.POLICIES), figures)


def run(services: int, transport: str = "Unix socket", cpu: float = 12.34) -> dict[str, Any]:
    connect = {"CPU s": cpu, "first proxy s": 1.5, "wall s": 20.0, "bytes a proxy": 9.9e6}
    connect |= {"peak RSS MB": 900.0, "RSS after MB": 450.0}
    reconnect = {"CPU s": 3.21, "wall s": 4.0, "resources": 0}
    facts = {"services": services, "proxies": 500, "transport": transport}
    return {**facts, "connect": connect, "reconnect": reconnect, "changes": of_each_kind(CHANGE)}


def size(services: int) -> dict[str, Any]:
    figures = {"full compile s": 0.876, "second proxy ms": 0.3, "bytes a proxy": 9.9e6, "peak RSS MB": 321.0}
    kinds = of_each_kind(COMPILED)
    return {"services": services, "resources": {"Cluster": 7000}, "changes": kinds, **figures}


SCOPES = {"one scope s": 1.0, "200 label sets s": 1.2, "ratio": 1.2}
SCOPES |= {"one scope MB": 100.0, "200 label sets MB": 110.0, "memory ratio": 1.1}
ENVOY = {
    "services": 5000,
    "connect": {"Envoy CPU s": 7.0, "Envoy RSS MB": 400.0},
    "changes": of_each_kind({"our CPU ms": 2.0, "Envoy CPU ms": 33.3}),
}
LAG = {"seconds each": 1.0, "CPU s each": 0.9, "p50 ms": 0.2, "p99 ms": 19.0, "p99.9 ms": 27.5, "p100 ms": 31.0}
LAG |= {"p99.9 CPU ms": 22.0, "endpoint changes": 99}
RESULTS = {
    "store": [{"name": "a node", "value": 1.9, "unit": "µs", "bar": 3.0}],
    "compile": {"sizes": [size(100), size(5000)], "scopes": SCOPES},
    "serving": {
        "machine": {"CPU": "2 x Abacus", "Python": "3.11.7"},
        "bare": {"proxies": 500, "CPU us a proxy": 84.0, "last ms": 40.0, "bytes": 372},
        "runs": [run(100), run(5000), run(5000, "mTLS over loopback TCP", 15.67)],
        "envoys": [ENVOY],
    },
    "lag": LAG,
    "cluster": {"services": 5000, "objects": 20_070, "MB": 107.0, "CPU s": 0.648, "wall s": 0.9},
}


def row(page: str, *cells: str) -> list[str]:
    """The cells of the only row that begins with these."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    (found,) = [each for each in rows if each[: len(cells)] == list(cells)]
    return found[len(cells) :]


def test_the_page_has_all_figures_and_no_gaps():
    page = report.page(RESULTS)
    assert "$" not in page
    assert "CPU 2 x Abacus, Python 3.11.7" in page
    assert row(page, "5,000", "0.876") == ["0.3", "7,000", "9.9", "321"]
    assert row(page, "held, MB") == ["100", "110", "1.1"]
    assert row(page, "5,000", "mTLS over loopback TCP", "15.7")[-1] == "0"
    assert row(page, "5,000", "Unix socket", "weight") == ["118", "59.2", "61", "1", "1,269"]
    assert row(page, "5,000", "weight") == ["2", "33.3", ""]
    assert "84 µs of CPU a proxy" in page
    assert row(page, "5,000", "20,070") == ["107", "0.648", "0.9"]
    assert row(page, "1 s, 0.9 s CPU") == ["0.2", "19", "27.5", "31", "22", "99"]


def test_ours_beside_the_peer_is_the_largest_run_over_the_socket():
    assert row(report.page(RESULTS), "connect, CPU") == ["230 s", "12.3 s"]
    assert row(report.page(RESULTS), "endpoint change, CPU / last / bytes a proxy")[1] == "0.0592 s / 0.061 s / 1.27 kB"


def test_what_differs_between_sizes_is_told():
    sizes = [size(100), {**size(5000), "changes": of_each_kind({**COMPILED, "bytes": 2000})}]
    assert row(report.changes(sizes), "weight")[-1] == "1,093 / 2,000"


def test_figures_are_to_the_right_and_words_to_the_left():
    assert report.table(("what", "ms"), [("a", "7"), ("long one", "1,234")]).splitlines() == [
        "| what     |    ms |",
        "|----------|------:|",
        "| a        |     7 |",
        "| long one | 1,234 |",
    ]


def test_numbers_have_three_figures_that_count():
    assert [report.number(each) for each in (0, 0.012345, 7, 99.94, 100.4, 12345.6)] == [
        "0", "0.0123", "7", "99.9", "100", "12,346",
    ]  # fmt: skip
