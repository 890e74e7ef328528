"""Every code that a problem can have is listed, with what it says; nothing else is."""

import ast
from collections.abc import Iterator
from pathlib import Path

import re2

import controlplane
from controlplane.model.codes import CODES

ROOT = Path(controlplane.__file__).parent
CODE = re2.compile(r"(?:[A-Z][a-z]+|[A-Z]+){2,}|Conflicted")
SAYING = {"Problem", "ignored", "warn", "error", "_problem", "problem", "_of_cluster", "_file"}


def constants() -> Iterator[tuple[str, str]]:
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value):
                yield node.value, path.name


def said() -> Iterator[str]:
    """Codes that stand as such in a call that makes a problem."""
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in SAYING:
                values = [one.value for one in node.args[:2] if isinstance(one, ast.Constant)]
                yield from (value for value in values if isinstance(value, str) and CODE.fullmatch(value))


def test_every_code_that_is_said_is_listed() -> None:
    found = set(said())
    assert len(found) > 40
    assert found <= CODES.keys()


def test_every_code_that_is_listed_is_said_somewhere() -> None:
    used = {text for text, name in constants() if name != "codes.py"}
    assert CODES.keys() <= used
