"""One page of metrics out of several: whatever the application says, a scraper can take the whole."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from controlplane.agent.exposition import LONGEST_LINE, Format, Lines, Page, asked_for, format_of

GOOD_TEXT = [
    b"up 1",
    b"up{} 1",
    b'up{job="a"} 1.5',
    b'up{job="a",} 1e-3 1700000000000',
    b'up{ job = "a" , other="b" } +Inf',
    b'up{path="C:\\\\DIR\\n\\"quoted\\""} NaN',
    b"up\t-0.5\t-1",
    b'{"a.name", job="a"} 1',
    b'up{"a.label"="x"} 1',
    'up{city="Zürich"} 1'.encode(),
    b"# a comment",
    b"#",
    b"# HELP up Whether it is.",
    b"# TYPE up gauge",
]
BAD_TEXT = [
    b"<html>",
    b"up",
    b"up one",
    b" 1",
    b"{} 1 x",
    b"up 1 2 3",
    b'up{job="a} 1',
    b"up{job=a} 1",
    b'up{job="a"',
    b"1up 1",
    b"up 1_000",
    b"up 0x10",
    b'up{job="\xff"} 1',
    b"# TYPE up",
    b"# TYPE up sort",
    b"# TYPE 1up gauge",
    b"# HELP",
    b"up{" + b'a="b",' * 20_000 + b"} 1",
]
GOOD_OPEN = [
    b"# TYPE calls counter",
    b"# UNIT calls seconds",
    b'calls_total{code="200"} 17.0',
    b'calls_total{code="200"} 17.0 1700000000.123',
    b'calls_bucket{le="1.0"} 8 # {trace_id="ab"} 0.67',
    b'calls_bucket{le="1.0"} 8 # {trace_id="ab"} 0.67 1700000000.5',
    b"calls_created 1.7e9",
]
BAD_OPEN = [b"# a comment", b"up 1 2 3", b"up 1 # {a=} 1", b"up  1 # {} x"]


def passed(form: Format, *lines: bytes) -> list[bytes]:
    return list(Page(form).theirs(list(lines)))


@pytest.mark.parametrize("line", GOOD_TEXT)
def test_what_a_scraper_of_text_takes_passes(line):
    assert passed(Format.TEXT, line) == [line]


@pytest.mark.parametrize("line", BAD_TEXT, ids=lambda line: repr(line[:30]))
def test_what_it_would_refuse_the_page_for_does_not(line):
    page = Page(Format.TEXT)
    assert list(page.theirs([b"up 1", line, b"down 0"])) == [b"up 1", b"down 0"]
    assert page.dropped == 1


@pytest.mark.parametrize("line", GOOD_OPEN)
def test_what_a_scraper_of_openmetrics_takes_passes(line):
    assert passed(Format.OPEN, line) == [line]


@pytest.mark.parametrize("line", BAD_OPEN)
def test_what_it_would_refuse_does_not(line):
    assert passed(Format.OPEN, line) == []


def test_the_end_of_a_page_is_not_the_applications_to_say():
    assert passed(Format.OPEN, b"up 1", b"# EOF", b"down 0") == [b"up 1", b"down 0"]


def test_a_family_belongs_to_who_said_it_first():
    page = Page(Format.TEXT)
    list(page.ours([b"# TYPE envoy_latency histogram", b'envoy_latency_bucket{le="1"} 1', b"envoy_latency_count 1"]))
    theirs = [
        b"# HELP envoy_latency Mine.",
        b"# TYPE envoy_latency histogram",
        b'envoy_latency_bucket{le="1"} 5',
        b"envoy_latency_count 5",
        b"# TYPE own counter",
        b"own 1",
        b"# TYPE own counter",
        b"own 2",
    ]
    assert list(page.theirs(theirs)) == [b"# TYPE own counter", b"own 1", b"own 2"]


def test_ours_are_put_into_openmetrics():
    lines = [
        b"# TYPE a counter",
        b"a 1",
        b"",
        b"# TYPE b gauge",
        b'b{x="y"} 2',
        b"# TYPE c_total counter",
        b"c_total 1",
    ]
    page = b"\n".join([*Page(Format.OPEN).ours(lines), b"# EOF", b""]).decode()
    assert {family.name: family.type for family in open_families(page)} == {
        "a": "unknown", "b": "gauge", "c_total": "unknown"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", "text/plain"),
        ("text/plain", "text/plain"),
        ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily", "text/plain"),
        ("application/openmetrics-text;version=1.0.0;q=0.9,*/*;q=0.1", "application/openmetrics-text"),
    ],
)
def test_an_application_is_asked_for_what_can_be_merged(accept, wanted):
    assert asked_for(accept).startswith(wanted)
    assert "protobuf" not in asked_for(accept)


@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        ("", Format.TEXT),
        ("text/plain; version=0.0.4", Format.TEXT),
        ("Application/OpenMetrics-Text; version=1.0.0", Format.OPEN),
        ("text/html", None),
        ("application/vnd.google.protobuf", None),
    ],
)
def test_formats(content_type, form):
    assert format_of(content_type) is form


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=30)
LINES = st.one_of(
    st.sampled_from([line.decode(errors="replace") for line in (*GOOD_TEXT, *BAD_TEXT, *GOOD_OPEN, *BAD_OPEN)]),
    WORDS,
    st.builds("{}{{{}}} {}".format, WORDS, WORDS, WORDS),
    st.builds('up{{a="{}"}} {}'.format, WORDS, st.floats()),
    st.builds("# TYPE {} {}".format, WORDS, st.sampled_from(["gauge", "counter", "", "x"])),
)


@given(st.lists(LINES, max_size=20))
def test_whatever_an_application_says_the_page_can_be_read(lines):
    """By somebody else's parser. Quoted names are newer than it is: they have examples above."""
    said = [line.encode() for line in lines if not line.lstrip().startswith('{"') and '{"' not in line]
    page = b"\n".join([*passed(Format.TEXT, *said), b""]).decode()
    assert list(text_families(page)) is not None


@given(st.binary(max_size=300), st.lists(st.integers(0, 300)))
def test_lines_are_the_same_however_they_arrive(content, cuts):
    places = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    lines = Lines()
    found = [line for begin, end in pairwise(places) for line in lines.of(content[begin:end])]
    whole = content.split(b"\n")
    assert found + lines.last() == [line.removesuffix(b"\r") for line in whole[:-1]] + (
        [whole[-1]] if whole[-1] else []
    )


def test_a_line_without_end_takes_no_memory_and_does_not_pass():
    lines, page = Lines(), Page(Format.TEXT)
    for _ in range(100):
        assert lines.of(b"x" * 65_536) == []
    assert len(lines.last()[0]) == LONGEST_LINE + 1
    assert list(page.theirs(lines.of(b" 1\nup 1\n"))) == [b"up 1"]
