"""What an API server writes is told from what anything else writes, and one object from the next."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.sources.kubernetes.wire import (
    Garbage,
    Lines,
    order,
    read_answer,
    read_error,
    read_event,
    read_head,
    read_page,
)
from tests.sources.kubernetes.cluster import EXPIRED, SERVICES, Cluster, status

DEEP = 3000  # levels; msgspec passes over a thousand


def page_of(*names: str) -> bytes:
    cluster = Cluster()
    for name in names:
        cluster.put(SERVICES, name)
    return json.dumps(cluster.page(SERVICES)).encode()


def test_a_page_is_cut_into_objects() -> None:
    page = read_page(page_of("a", "b"))
    assert [read_head(item).name for item in page.items] == ["a", "b"]
    assert (page.version, page.token) == ("102", "")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        b"[]",
        b"<html>sign in</html>",
        b'{"kind":"ServiceList","metadata":{"resourceVersion":"1"}}',
        b'{"kind":"ServiceList","metadata":{"resourceVersion":""},"items":[]}',
        b'{"kind":"ServiceList","metadata":{},"items":[]}',
        b'{"kind":"Status","metadata":{"resourceVersion":"1"},"items":[]}',
        b'{"kind":"ServiceList","metadata":{"resourceVersion":"1"},"items":{}}',
        b'{"kind":"ServiceList","metadata":{"resourceVersion":"1"},"items":[]}{}',
    ],
)
def test_what_is_not_a_list_is_not_an_empty_one(body: bytes) -> None:
    with pytest.raises(Garbage):
        read_page(body)


def test_an_empty_list_may_be_null() -> None:
    assert read_page(b'{"kind":"ServiceList","metadata":{"resourceVersion":"1"},"items":null}').items == ()


def test_a_page_cut_at_any_byte_is_no_page() -> None:
    body = page_of("a", "b")
    for end in range(len(body)):
        with pytest.raises(Garbage):
            read_page(body[:end])


def deep(name: str) -> bytes:
    inside = b'{"x":' * DEEP + b"[]" + b"}" * DEEP
    fields = b'"managedFields":[{"fieldsV1":%s}],"labels":{"name":"no","}":"]"}' % inside
    return b'{"spec":%s,"metadata":{%s,"name":"%s","namespace":"n","resourceVersion":"7"}}' % (
        inside,
        fields,
        name.encode(),
    )


def test_an_object_nested_too_deep_spoils_no_other() -> None:
    items = [deep("a"), b'{"metadata":{"name":"b"}}', deep("c")]
    body = b'{"kind":"XList", "metadata":{"resourceVersion":"9","continue":"t"} ,"items":[%s]}' % b" , ".join(items)
    page = read_page(body)
    assert (page.version, page.token) == ("9", "t")
    assert [read_head(item).name for item in page.items] == ["a", "b", "c"]
    assert read_head(page.items[0]).version == "7"
    event = read_event(b'{"type":"ADDED","object":%s}' % deep("d"))
    assert (event.type, read_head(event.object).name, read_head(event.object).namespace) == ("ADDED", "d", "n")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_the_deep_way_finds_what_the_short_way_finds(value: object) -> None:
    head = {"name": "n", "namespace": "s", "resourceVersion": "3"}
    plain = {"metadata": {**head, "managedFields": value}, "spec": value}
    items = [json.dumps(plain).encode(), json.dumps({"": value}).encode()]
    tail = b"[" * DEEP + b"]" * DEEP
    body = b'{"kind":"XList","metadata":{"resourceVersion":"9"},"items":[%s,%s,%s]}' % (*items, tail)
    found = read_page(body).items
    assert [json.loads(item) for item in found[:2]] == [json.loads(item) for item in items]
    assert found[2] == tail
    assert read_head(found[0]) == read_head(items[0])


@given(st.lists(st.binary().filter(lambda line: b"\n" not in line and line.strip())), st.data())
def test_lines_do_not_depend_on_how_they_come(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    reader, at = Lines(), 0
    found: list[bytes] = []
    while at < len(stream):
        step = data.draw(st.integers(1, len(stream)))
        found += reader.feed(stream[at : at + step])
        at += step
    assert found == lines


def test_half_a_line_is_none() -> None:
    reader = Lines()
    assert list(reader.feed(b'{"type":"ADDED"}\n{"type"')) == [b'{"type":"ADDED"}']
    assert list(reader.feed(b":1}\n\n \n")) == [b'{"type":1}']


def test_a_line_without_end_is_cut_off() -> None:
    reader = Lines(longest=100)
    with pytest.raises(Garbage):
        list(reader.feed(b"x" * 101))


@pytest.mark.parametrize("line", [b"{}", b"garbage", b'{"type":"ADDED"}', b'{"object":{}}', b'{"type":1,"object":{}}'])
def test_what_is_no_event(line: bytes) -> None:
    with pytest.raises(Garbage):
        read_event(line)


@pytest.mark.parametrize("raw", [b"{}", b"[]", b"1", b'{"metadata":null}', b'{"metadata":{"name":1}}'])
def test_what_is_no_object(raw: bytes) -> None:
    with pytest.raises(Garbage):
        read_head(raw)


def test_a_refusal_says_how_long_to_wait_and_what_helps() -> None:
    busy = read_answer(429, {"Retry-After": "7"}, b"slow down")
    assert (busy.code, busy.retry_after, busy.expired, busy.message) == (429, 7.0, False, "slow down")
    assert read_answer(503, {}, json.dumps(status(503, "x", "y", retryAfterSeconds=3)).encode()).retry_after == 3.0
    assert read_answer(429, {"Retry-After": "999999"}, b"").retry_after == 120.0
    assert read_answer(429, {"Retry-After": "-5"}, b"").retry_after == 0.0
    assert read_answer(410, {}, b"").expired
    assert read_error(json.dumps(EXPIRED).encode()).expired
    cause = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    too_new = status(504, "Timeout", "Timeout: Too large resource version: 9, current: 1", causes=cause)
    assert read_answer(504, {}, json.dumps(too_new).encode()).expired
    assert not read_answer(504, {}, b"gateway timeout").expired


@given(st.binary())
def test_no_answer_is_too_odd(body: bytes) -> None:
    assert read_answer(500, {}, body).code == 500
    assert read_error(body).code >= 0
    assert "\n" not in str(read_error(body))


def test_versions_are_compared_as_numbers() -> None:
    assert order("9") < order("10") < order("123456789012345678901234567890")
    assert order("") == order("abc") == order("-1") == order("٣") == -1
