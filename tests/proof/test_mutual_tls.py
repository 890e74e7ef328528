"""`lateen up` where everybody must prove who they are: what goes over the wire, who is heard, and who is said to call."""

import socket
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.local.meshes import Up, call, lay_out
from tests.proof.capture import capturing, may_capture

pytestmark = [pytest.mark.point, pytest.mark.skipif(not may_capture(), reason="takes CAP_NET_RAW")]

EXAMPLE = "security/mutual-tls"
URL = "http://ledger:8080/accounts"
TELLER = "spiffe://cluster.local/ns/bank/sa/teller"
MARK = b"mark-that-nobody-else-would-send"
ANSWER = b"balance is 7"
PLAIN = (b"GET / HTTP/1.1\r\nHost: ledger\r\n\r\n", b"\x00" * 64, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")


def test_nothing_is_plain_between_sidecars_and_everybody_is_known(tmp_path, size, proved):
    directory, calls = lay_out(tmp_path, EXAMPLE), size(50, 2000)
    with Up(directory).settled() as up:
        ledger = sidecar_of(up, "ledger")
        with capturing(MARK, ANSWER) as capture:
            answered = [up.call("teller", URL, x_mark=MARK.decode()) for _ in range(calls)]
        heard = sum(map(partial(is_heard, ledger), PLAIN))
        said = [line.rpartition(" ")[2] for line in access_log(directory) if "/accounts" in line]
    assert answered == [(200, f"{ANSWER.decode()}\n")] * calls
    proved(
        "identity 1", "calls that the application's access log names the caller of; plain text that is answered",
        bound="all, none", figure=f"{said.count(TELLER)} of {calls}, {heard} of {len(PLAIN)}",
        holds=said == [TELLER] * calls and not heard, cases=calls, asked=calls,
    )  # fmt: skip
    between = {way: stream for way, stream in capture.streams.items() if ledger in way}
    plain = [way for way, stream in between.items() if not stream.is_tls or stream.marks]
    assert not capture.lost
    assert any(MARK in stream.marks and ledger not in way for way, stream in capture.streams.items()), (
        "the capture is blind: what a sidecar says to its application is plain"
    )
    proved(
        "identity 1", "streams between sidecars in a capture of loopback: plain ones",
        bound="0", figure=f"{len(plain)} of {len(between)}, {sum(one.size for one in between.values()):,} bytes",
        holds=not plain, cases=len(between), asked=2,
    )  # fmt: skip


def sidecar_of(up: Up, workload: str) -> tuple[str, int]:
    """Where the sidecar of a workload takes calls for its first port: "80 at 10080 -> 20080"."""
    row = up.replicas(workload)[0]
    return row["address"], int(row["ports"][0].split(" at ")[1].split(" ")[0])


def is_heard(place: tuple[str, int], said: bytes) -> bool:
    """Whether anything is answered."""
    with socket.create_connection(place, 10) as connection, suppress(ConnectionResetError):
        connection.settimeout(10)
        connection.sendall(said)
        return bool(connection.recv(1024))
    return False


def access_log(directory: Path) -> list[str]:
    """What the application wrote about calls."""
    logs = (directory / ".lateen" / "logs").glob("bank.ledger-*.ledger.log")
    return [line for path in logs for line in path.read_text().splitlines() if line.startswith('"')]


def test_permissive_takes_both_and_names_only_those_who_prove_it(tmp_path: Path) -> None:
    directory = lay_out(tmp_path, EXAMPLE)
    (directory / "strict.yaml").write_text((directory / "strict.yaml").read_text().replace("STRICT", "PERMISSIVE"))
    forged = {"x_forwarded_client_cert": f"URI={TELLER}"}
    with Up(directory).settled() as up:
        assert call(sidecar_of(up, "ledger"), "http://ledger/plain", **forged)[0] == 200
        assert up.call("teller", "http://ledger:8080/proven", **forged)[0] == 200
        callers = {line.split("/", 1)[1].split(" ")[0]: line.rpartition(" ")[2] for line in access_log(directory)}
    assert callers["proven"] == TELLER
    assert next(caller for path, caller in callers.items() if path.endswith("plain")) == "-"
