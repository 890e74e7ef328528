"""docs/security.md says what is so: its tables are those of the code, and each test it names is there."""

import ast
from pathlib import Path

import pytest

from tests.threats.page import rendered
from tests.threats.rows import THREATS

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "security.md"
DEFENDED = {1, 2, 3, *range(5, 9), *range(14, 20), 22}


def test_the_tables_are_those_of_the_code():
    page = PAGE.read_text(encoding="utf-8")
    assert page == rendered(page), "make reference"


def test_every_threat_has_a_test_or_says_what_is_not_there_yet():
    assert [one.number for one in THREATS] == list(range(1, 26))
    assert {one.number for one in THREATS if one.tests} >= DEFENDED
    assert all(one.tests or one.not_yet for one in THREATS)


@pytest.mark.parametrize("node", sorted({each for one in THREATS for each in one.tests}))
def test_what_is_named_is_a_test(node: str):
    file, _, name = node.partition("::")
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    (found,) = (
        one for one in tree.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and one.name == name
    )
    assert name.startswith("test_")
    assert not any("skip" in ast.unparse(one) for one in found.decorator_list)
