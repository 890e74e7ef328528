"""Text to values: as an API server would read it, and never more than a bounded amount of work."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.sources.files.reading import MAX_DEPTH, Unreadable, read


def value(text: str):
    (reading,) = read(text)
    return reading.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12:30", "12:30"),  # YAML 1.1 says 750
        ("2024-01-01", "2024-01-01"),  # YAML 1.1 says a date
        ("1.2.3", "1.2.3"),
        ("0644", 0o644),
        ("089", "089"),
        ("0x1f", 31),
        ("1_000", 1000),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-1", -1),
        ("yes", True),
        ("off", False),
        ("y", "y"),
        ("~", None),
        ("'5'", "5"),
        ("!!binary aGk=", "aGk="),
        (".inf", ".inf"),
        ("", None),
    ],
)
def test_scalars_are_what_kubernetes_reads(text: str, expected: object) -> None:
    assert value(f"a: {text}") == {"a": expected}


def test_keys_are_strings_whatever_they_look_like() -> None:
    assert value("80: a\ntrue: b\n1.5: c") == {"80": "a", "true": "b", "1.5": "c"}


def test_merge_keys_give_way_to_own_keys_and_the_first_of_several_wins() -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], x: 3}\nd: {<<: *a}"
    assert value(text)["c"] == {"x": 3, "y": 1, "z": 2}
    assert value(text)["d"] == {"x": 1, "y": 1}


def test_documents_know_their_line_and_empty_ones_are_left_out() -> None:
    text = "# words\n---\na: 1\n---\n---\n# nothing\n---\nb: 2\n"
    assert [(reading.value, reading.line) for reading in read(text)] == [({"a": 1}, 3), ({"b": 2}, 8)]


def test_items_of_a_list_know_their_lines() -> None:
    assert read("kind: List\nitems:\n- a: 1\n- b: 2\n")[0].item_lines == (3, 4)


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("a: 1\nb: [1,\n", 3, 1, "node"),
        ("a:\n\t- b", 2, 1, "cannot start any token"),
        ("a: 1\na: 2", 2, 1, "'a' appears twice"),
        ("{\n a: 1,\n a: 2}", 3, 2, "'a' appears twice"),
        ("a: *b", 1, 4, "*b stands for nothing"),
        ("a: &a [*a]", 1, 8, "or for what it is part of"),
        ("a: !!python/object:os.system x", 1, 4, "tag"),
        ("? [1]\n: 2", 1, 3, "key must be a string"),
        ("a: 1\nb: \x07", 2, 4, "control characters"),
        ("a: " + "9" * 50, 1, 4, "40 digits"),
        ("a: 9e999", 1, 4, "too large"),
        ("<<: 5", 1, 5, "<<"),
        ("[" * (MAX_DEPTH + 1), 1, MAX_DEPTH + 1, "nested deeper"),
        ("- " * 2 + "\n" + "a: 1", 2, 1, "expected"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(text: str, line: int, column: int, words: str) -> None:
    with pytest.raises(Unreadable) as wrong:
        read(text)
    assert words in wrong.value.message
    assert (wrong.value.line, wrong.value.column) == (line, column)


def laughs(width: int, levels: int) -> str:
    lines = [f"a0: &a0 [{','.join('x' * width)}]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines)


def test_a_small_file_that_expands_to_billions_is_refused_before_anything_is_built() -> None:
    with pytest.raises(Unreadable, match="expands to more than"):
        read(laughs(9, 12))


def test_aliases_that_expand_to_little_are_welcome() -> None:
    assert value(laughs(3, 4))["a3"][2][2][2] == ["x"] * 3


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '{"a":' * 500 + "1" + "}" * 500])
@pytest.mark.parametrize("as_json", [True, False])
def test_depth_is_bounded_in_json_too(text: str, *, as_json: bool) -> None:
    with pytest.raises(Unreadable):
        read(text, as_json=as_json)


@pytest.mark.parametrize(("text", "words"), [('{"a":1,"a":2}', "twice"), ('{"a": NaN}', "NaN"), ("{", "Expecting")])
def test_json_is_read_strictly(text: str, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        read(text, as_json=True)


def test_json_with_escaped_pairs_is_read_as_json_even_in_a_yaml_file() -> None:
    assert value('{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=60)
@given(st.dictionaries(st.text(max_size=5), PLAIN, max_size=4))
def test_what_json_wrote_is_read_back(mapping) -> None:
    assert value(json.dumps(mapping)) == mapping


@settings(max_examples=200)
@given(st.text(max_size=60))
def test_no_text_at_all_raises_anything_else(text: str) -> None:
    try:
        read(text)
    except Unreadable as wrong:
        assert wrong.message  # noqa: PT017  (either outcome is fine; a wordless one is not)


@pytest.mark.parametrize(
    "text", [r'{"a": "\ud800"}', r'{"a": ["x\uDFFF"]}', r'{"\udfff": 1}', r'"\ud800"', r'a: "\ud800"']
)
def test_half_a_character_is_no_text(text: str) -> None:
    with pytest.raises(Unreadable, match=r"half of a character|Unicode"):
        read(text, as_json=text[0] != "a")
    assert value(r'{"a": "\ud83d\ude00"}') == {"a": "😀"}
