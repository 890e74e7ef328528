"""A socket file, a path, JSON."""

import json
import stat
from pathlib import Path

import pytest

from controlplane.runtime.unixhttp import NotFound, NotNow, parse_answer, request, request_blocking, serving


async def test_a_path_is_answered_with_json_and_its_query_is_understood(tmp_path: Path) -> None:
    async def echo(query):
        return dict(query)

    path = tmp_path / "s"
    async with serving(path, {"/echo": echo}):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        status, body = await request(path, "/echo?a=1&b=x%20y")
    assert (status, json.loads(body)) == (200, {"a": "1", "b": "x y"})
    assert not path.exists()


async def test_what_is_not_there_is_404_with_words(tmp_path: Path) -> None:
    async def missing(_query):
        raise NotFound("no such proxy")

    async with serving(tmp_path / "s", {"/one": missing}):
        assert (await request(tmp_path / "s", "/one"))[0] == 404
        status, body = await request(tmp_path / "s", "/other")
        assert (await request(tmp_path / "s", "/one", method="POST"))[0] == 405
    assert status == 404
    assert "/one" in json.loads(body)["error"]


async def test_what_changes_something_is_a_post(tmp_path: Path) -> None:
    done: list[str] = []

    async def act(query):
        if not query:
            raise NotNow("not yet")
        done.append(query["a"])
        return {"done": len(done)}

    path = tmp_path / "s"
    async with serving(path, {"/look": act}, {"/act": act}):
        assert await request(path, "/act?a=1", "POST") == (200, b'{"done": 1}')
        assert await request(path, "/act", "POST") == (409, b'{"error": "not yet"}')
        assert (await request(path, "/act?a=2"))[0] == 405
        assert (await request(path, "/look?a=2", "POST"))[0] == 405
        assert (await request(path, "/act?a=2", "post"))[0] == 405
    assert done == ["1"]


async def test_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.touch()
    async with serving(path, {}):
        assert (await request(path, "/"))[0] == 404


def test_nobody_listening_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        request_blocking(tmp_path / "s", "/")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nbody", (200, b"body")),
        (b"HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", (503, b"abcde")),
    ],
)
def test_answers_are_taken_apart(answer: bytes, expected) -> None:
    assert parse_answer(answer) == expected


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n", b"nonsense\r\n\r\n"])
def test_an_answer_that_broke_off_is_a_connection_error(answer: bytes) -> None:
    with pytest.raises(ConnectionError):
        parse_answer(answer)
