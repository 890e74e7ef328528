"""The account of the load can be trusted: everything that may go wrong with a request is in it, once."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.envoys.process import wait_for
from tests.proof import load as loads
from tests.proof.load import Load

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
LAST = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi"
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
URL = "http://somewhere:80/"


class _Scripted(asyncio.Protocol):
    """Answers the n-th request of all connections by the n-th line of a script, and all later ones well."""

    def __init__(self, script: Iterator[bytes | None]) -> None:
        self._script = script

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        answer = next(self._script, OK)
        if answer is None:
            self._transport.abort()
            return
        for part in (answer[:20], answer[20:]):
            self._transport.write(part)
        if answer == LAST:
            self._transport.close()


@contextmanager
def server(*script: bytes | None) -> Iterator[tuple[str, int]]:
    """`None`: the connection is cut instead of an answer. b"": silence."""
    loop = asyncio.new_event_loop()
    answers = iter(script)
    listening = loop.run_until_complete(loop.create_server(lambda: _Scripted(answers), "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield listening.sockets[0].getsockname()
    finally:
        loop.call_soon_threadsafe(listening.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def account_of(*script: bytes | None, requests: int = 10, connections: int = 1) -> loads.Account:
    with server(*script) as where, Load(*where, URL, requests=requests, connections=connections) as load:
        assert load.done.wait(30)
    return load.account


@pytest.mark.parametrize("connections", [1, 4])
def test_all_is_well(connections):
    account = account_of(requests=100, connections=connections)
    assert account.answers == {b"hi": 100}
    assert not account.failed


def test_a_connection_that_the_server_ends_after_an_answer_is_no_failure():
    account = account_of(OK, LAST, OK, LAST)
    assert account.answers == {b"hi": 10}
    assert not account.failed


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (UNAVAILABLE, "503"),
        (None, "reset"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nhi", "garbage"),
    ],
)
def test_a_failure_is_counted_once(answer, kind):
    account = account_of(OK, answer)
    assert account.answers == {b"hi": 9}
    assert account.failed == {kind: 1}
    assert [each.kind for each in account.failures] == [kind]


def test_silence_is_a_failure(monkeypatch):
    monkeypatch.setattr(loads, "_PATIENCE", 0.2)
    account = account_of(OK, b"")
    assert account.answers == {b"hi": 9}
    assert account.failed == {"timeout": 1}


def test_nobody_there_is_a_failure():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host, port = taken.getsockname()
        with Load(host, port, URL, requests=3, connections=1) as load:
            assert load.done.wait(30)
    assert load.account.failed == {"refused": 3}


def test_leaving_waits_for_what_is_out():
    with server() as where, Load(*where, URL, connections=4) as load:
        load.wait_for(50)
    assert not load.account.failed
    assert load.account.total >= 50


def test_a_program_of_its_own_tells_its_account_all_the_while(tmp_path):
    """As `e2e.load` runs it in Pods: by its text alone, until it is stopped."""
    name = str(tmp_path / "load")
    with server() as (host, port):
        options = {"address": host, "port": port, "url": URL, "name": name, "connections": 2, "headers": {"a": "b"}}
        command = [sys.executable, "-c", Path(loads.__file__).read_text(), json.dumps(options)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd="/") as process:
            wait_for(lambda: told(name).total > 10, lambda: "answers", lambda: None)
            Path(f"{name}.stop").touch()
            account = loads.Account.read(json.loads(process.communicate()[0]))
    assert account.answers == told(name).answers
    assert account.answers.keys() == {b"hi"}
    assert not account.failed


def told(name: str) -> loads.Account:
    path = Path(f"{name}.json")
    return loads.Account.read(json.loads(path.read_text())) if path.exists() else loads.Account()


def test_a_connection_for_each_call():
    with server() as where, Load(*where, URL, requests=5, connections=1, fresh=True) as load:
        assert load.done.wait(30)
    assert load.account.answers == {b"hi": 5}
    assert not load.account.failed
