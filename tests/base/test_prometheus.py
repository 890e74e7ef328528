"""A page of metrics, as somebody else's parser reads it."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families as parsed

from controlplane.base.prometheus import Family, Sample, counter, gauge, page


def test_a_page_says_what_was_counted():
    families = list(parsed(page([counter("pods_total", "Pods.", 3), gauge("memory_bytes", "Memory.", 2.5)]).decode()))
    assert [(one.name, one.type, one.documentation) for one in families] == [
        ("pods", "counter", "Pods."),
        ("memory_bytes", "gauge", "Memory."),
    ]
    assert [(sample.name, sample.value) for one in families for sample in one.samples] == [
        ("pods_total", 3.0),
        ("memory_bytes", 2.5),
    ]


def test_nothing_counted_yet_is_a_family_without_samples():
    (family,) = parsed(page([Family("skips_total", "counter", "Skips.", ())]).decode())
    assert family.samples == []


@given(st.text(st.characters(exclude_categories=["Cs"])), st.floats(allow_nan=False))
def test_whatever_a_label_says_it_is_one_label(text: str, value: float):
    (family,) = parsed(page([Family("x", "gauge", "X.", (Sample(value, {"name": text, "more": "y"}),))]).decode())
    (sample,) = family.samples
    assert (sample.labels, sample.value) == ({"name": text, "more": "y"}, value)
