"""What msgspec has against a value, in words for its author."""

from collections.abc import Sequence

_WORDS = (
    (" | null`", "`"),
    ("Expected `str | object | array`", "expected a command line, a list of words or a mapping with `run`"),
    ("Expected `str | array`", "expected a command line or a list of words"),
    ("Expected", "expected"),
    ("Object contains", "there is an"),
    ("Object missing required field", "there is no"),
    ("`object`", "a mapping"),
    ("`array`", "a list"),
    ("`str`", "a string"),
    ("`int`", "a number"),
    ("`float`", "a number"),
    ("`bool`", "true or false"),
    ("`null`", "nothing"),
)


def in_words(wrong: Exception) -> tuple[str, list[str]]:
    """ "expected a mapping, got a number", and the keys that lead there: ["spec", "ports", "[0]"]."""
    said, _, where = str(wrong).partition(" - at ")
    for theirs, ours in _WORDS:
        said = said.replace(theirs, ours)
    path = where.strip("`").removeprefix("$").replace("[...]", "").replace("[", ".[")
    return said, [key for key in path.split(".") if key]


def joined(keys: Sequence[str]) -> str:
    """As field paths are written: "spec.ports[0]"."""
    return ".".join(keys).replace(".[", "[")
