"""Nothing that users write is ever run: no way to do so is in the code, and what they write is tried as if there were.

The gate reads the syntax tree, so that no spelling of a name, comment or string fools it. What it lets through by name
stands in `ALLOWED`, with the reason.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).parents[2]
TREES: Final = ("controlplane", "examples")

CALLS: Final = {
    "eval", "exec", "compile", "__import__", "execfile", "input", "breakpoint",
    "os.system", "os.popen", "os.execv", "os.execl", "os.execve", "os.execvp", "os.spawnl", "os.spawnv", "os.startfile",
    "subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell", "pty.spawn",
    "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load", "yaml.full_load_all",
    "importlib.import_module", "importlib.__import__", "runpy.run_path", "runpy.run_module",
    "tempfile.mktemp", "types.FunctionType", "types.CodeType", "msgspec.json.Raw",
}  # fmt: skip
METHODS: Final = {"format_map", "loads_all", "from_string", "render_template", "get_template", "subclasshook"}
MODULES: Final = {
    "pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "jsonpickle", "code", "codeop", "pty",
    "jinja2", "mako", "chameleon", "genshi", "cheetah", "chevron", "pystache", "lupa", "lua", "js2py", "RestrictedPython",
    "asteval", "numexpr", "simpleeval", "xml", "lxml", "xmlrpc", "imp", "builtins", "telnetlib", "ftplib",
}  # fmt: skip

# (file, what) -> why it cannot be reached by what users write.
ALLOWED: Final = {
    ("controlplane/cli/main.py", "importlib.import_module"): "one of our own commands, by a literal in this file",
    ("controlplane/envoy/render.py", "importlib.import_module"): "message types listed in this file",
    ("controlplane/webhooks/injection/shortyaml.py", "yaml.load"): "a loader below SafeLoader: plain values alone",
}


class Found(NamedTuple):
    """One way to run something."""

    file: str
    line: int
    what: str

    @property
    def is_allowed(self) -> bool:
        return (self.file, self.what) in ALLOWED


class Gate(ast.NodeVisitor):
    """Collects what must not be there."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[Found] = []
        self._aliases: dict[str, str] = {}

    def _add(self, node: ast.AST, what: str) -> None:
        self.found.append(Found(self.file, getattr(node, "lineno", 0), what))

    def visit_Import(self, node: ast.Import) -> None:
        for name in node.names:
            self._module(node, name.name)
            self._aliases[name.asname or name.name] = name.name

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self._module(node, node.module or "")
        for name in node.names:
            self._aliases[name.asname or name.name] = f"{node.module}.{name.name}"
            if (node.module, name.name) in {("string", "Template"), ("string", "Formatter"), ("yaml", "Loader")}:
                self._add(node, f"{node.module}.{name.name}")

    def _module(self, node: ast.AST, name: str) -> None:
        if name.split(".", maxsplit=1)[0] in MODULES:
            self._add(node, f"import {name}")

    def visit_Call(self, node: ast.Call) -> None:
        name = _dotted(node.func)
        whole = self._aliases.get(name, name)
        head, _, rest = name.partition(".")
        if head in self._aliases and rest:
            whole = f"{self._aliases[head]}.{rest}"
        if not {name, whole}.isdisjoint(CALLS):
            self._add(node, whole)
        if isinstance(node.func, ast.Attribute):
            self._method(node, node.func, whole)
        for keyword in node.keywords:
            if keyword.arg == "shell" and not (
                isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            ):
                self._add(node, "shell=")
        self.generic_visit(node)

    def _method(self, node: ast.Call, method: ast.Attribute, whole: str) -> None:
        if method.attr in METHODS:
            self._add(node, f".{method.attr}")
        if method.attr == "format" and not _is_text(method.value) and whole != "msgspec.json.format":
            self._add(node, ".format of what is no literal")

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """`%`: of a literal, or of numbers, where it is no formatting."""
        if isinstance(node.op, ast.Mod) and isinstance(node.right, ast.Tuple | ast.Dict) and not _is_text(node.left):
            self._add(node, "% of what is no literal")
        self.generic_visit(node)


def _dotted(node: ast.expr) -> str:
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)


def gate(text: str, file: str = "x.py") -> list[Found]:
    """All there is in some Python text."""
    made = Gate(file)
    made.visit(ast.parse(text))
    return made.found


def sources() -> Iterator[Path]:
    for tree in TREES:
        yield from (ROOT / tree).rglob("*.py")


def test_there_is_no_way_to_run_a_text():
    files = list(sources())
    assert len(files) > 200
    found = [one for path in files for one in gate(path.read_text(), str(path.relative_to(ROOT)))]
    assert [one for one in found if not one.is_allowed] == []
    assert {(one.file, one.what) for one in found} == set(ALLOWED)


@pytest.mark.parametrize(
    "text",
    [
        "eval(x)",
        "exec(x)",
        "compile(x, '', 'exec')",
        "__import__(x)",
        "import pickle",
        "from pickle import loads",
        "import marshal as m",
        "import yaml\nyaml.load(x)",
        "from yaml import load\nload(x)",
        "import yaml as y\ny.unsafe_load(x)",
        "x.format(y)",
        "(a + b).format(y)",
        "f'{a}'.format(y)",
        "x.format_map(y)",
        "x % (y,)",
        "x % {'a': y}",
        "import subprocess\nsubprocess.run(x, shell=True)",
        "subprocess.Popen(x, shell=y)",
        "import os\nos.system(x)",
        "from os import system\nsystem(x)",
        "import asyncio\nasyncio.create_subprocess_shell(x)",
        "from jinja2 import Template",
        "from string import Template",
        "import importlib\nimportlib.import_module(x)",
        "from importlib import import_module as load\nload(x)",
        "import xml.etree.ElementTree",
    ],
)
def test_the_gate_sees(text):
    assert gate(text)


@pytest.mark.parametrize(
    "text", ["'{}'.format(x)", "'%s' % (x,)", "x % y", "re2.compile(x)", "yaml.safe_load(x)", "subprocess.run([x])"]
)
def test_the_gate_lets_through(text):
    assert not gate(text)
