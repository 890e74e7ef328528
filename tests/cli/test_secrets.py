"""Secrets as lines of a table."""

from datetime import UTC, datetime
from typing import Any

import pytest

from controlplane.cli.secrets import left, print_secrets

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ROOT = {
    "subject": ["O=cluster.local"],
    "issuer": "O=cluster.local",
    "serial": "eb0a99afdc8da8ea2f297b6a8cd20e5a",
    "validFrom": "2026-11-21T00:00:00Z",
    "validUntil": "2036-11-18T00:00:00Z",
    "sha256": "a92c75d0a011" + "0" * 52,
}
OWN = {**ROOT, "subject": ["spiffe://cluster.local/ns/a/sa/b", "b.a"], "validUntil": "2026-11-21T23:30:00Z"}


def secret(name, kind, *certificates, status="active", given=(), why="", listeners=(), clusters=()):
    return {
        "name": name,
        "type": kind,
        "source": "agent",
        "status": status,
        "why": why,
        "certificates": list(certificates),
        "given": list(given),
        "usedBy": {"listeners": list(listeners), "clusters": list(clusters)},
    }


def printed(capsys, *secrets):
    print_secrets(secrets, NOW)
    return [[cell.strip() for cell in line.split("   ") if cell] for line in capsys.readouterr().out.splitlines()]


def test_a_certificate_is_a_line_and_each_root_is(capsys):
    roots = secret("ROOTCA", "roots", ROOT, {**ROOT, "sha256": "b" * 64}, clusters=["x", "y"])
    header, first, second, own = printed(
        capsys, roots, secret("default", "certificate", OWN, ROOT, listeners=["in"], clusters=["x", "y"])
    )
    assert header == [
        "NAME", "TYPE", "STATUS", "SUBJECT", "VALID FROM", "VALID UNTIL", "SERIAL", "ISSUER", "SHA-256", "SOURCE", "USED BY",
    ]  # fmt: skip
    assert own == [
        "default", "certificate", "active", "spiffe://cluster.local/ns/a/sa/b +1", "2026-11-21T00:00:00Z",
        "2026-11-21T23:30:00Z (in 11h)", "eb0a99afdc8d", "O=cluster.local", "a92c75d0a011", "agent",
        "listener in, 2 clusters",
    ]  # fmt: skip
    assert [line[8] for line in (first, second)] == ["a92c75d0a011", "b" * 12]


def test_what_was_given_instead_stands_below_and_why_comes_last(capsys):
    newer = {**OWN, "serial": "ffff"}
    lines = printed(capsys, secret("default", "certificate", OWN, status="stale", given=[newer], why="Envoy is behind"))
    assert [line[2:3] + line[6:7] for line in lines[1:3]] == [
        ["stale", "eb0a99afdc8d"],
        ["given", "ffff"],
    ]
    assert lines[-1] == ["default", "stale", "Envoy is behind"]


def test_nothing_is_a_dash_and_a_long_bundle_is_one_line(capsys):
    lines = printed(capsys, secret("x", "certificate", status="missing"), secret("system", "roots", *[ROOT] * 144))
    assert lines[1][2:] == ["missing", *"------", "agent", "-"]
    assert lines[2][3] == "144 roots"
    unknown: dict[str, Any] = {
        "subject": [],
        "issuer": "",
        "serial": "",
        "sha256": "",
        "validFrom": None,
        "validUntil": None,
    }
    assert printed(capsys, secret("x", "certificate", unknown))[1][3:9] == ["-"] * 6


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("2026-11-21T12:00:01Z", "in 1s"),
        ("2026-11-21T12:01:59Z", "in 119s"),
        ("2026-11-21T12:02:00Z", "in 2m"),
        ("2026-11-21T23:30:00Z", "in 11h"),
        ("2026-11-23T12:00:00Z", "in 2d"),
        ("2036-11-18T00:00:00Z", "in 9y"),
        ("2026-11-21T12:00:00Z", "0s ago"),
        ("2026-11-21T08:00:00Z", "4h ago"),
    ],
)
def test_time_left_is_told_in_one_unit(end, words):
    assert left(end, NOW) == words
