"""What a program counts, as Prometheus' text (0.0.4).

Names and help texts are ours; values of labels may be anybody's, and are escaped.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPED: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Sample(NamedTuple):
    """One line."""

    value: float
    labels: Mapping[str, str] = {}


class Family(NamedTuple):
    """One metric. A counter's name ends in `_total`, but for those whose names others gave."""

    name: str
    kind: str  # "counter", "gauge"
    help: str  # a sentence, in one line
    samples: tuple[Sample, ...]


def gauge(name: str, words: str, value: float) -> Family:
    """Of one value, which goes up and down."""
    return Family(name, "gauge", words, (Sample(float(value)),))


def counter(name: str, words: str, value: float) -> Family:
    """Of one value, which only grows."""
    return Family(name, "counter", words, (Sample(float(value)),))


def page(families: Iterable[Family]) -> bytes:
    """All of them, in their order."""
    return "".join(map(_text, families)).encode()


def _text(family: Family) -> str:
    samples = "".join(f"{family.name}{_labels(one.labels)} {one.value:.17g}\n" for one in family.samples)
    return f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n{samples}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPED)}"' for name, value in labels.items()) + "}"
