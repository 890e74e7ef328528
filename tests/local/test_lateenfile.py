"""The small file, and what is said of a wrong one."""

from pathlib import Path

import pytest

from controlplane.local.lateenfile import LateenFile, load, parse

PATH = Path("/d/Lateenfile")


def test_all_forms_of_a_command() -> None:
    file = parse("commands: {a: run 'two words', b: [run, x], c: {run: run, directory: sub, env: {K: v}}}", PATH)
    assert file.commands["a"].argv == ("run", "two words")
    assert file.commands["b"].argv == ("run", "x")
    assert file.commands["c"].directory == Path("/d/sub")
    assert file.commands["c"].env == {"K": "v"}


def test_an_empty_file_and_no_file_say_nothing(tmp_path: Path) -> None:
    assert parse("", PATH) == parse("# words", PATH) == load([tmp_path / "Lateenfile"]) == LateenFile()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("commands: [", "/d/Lateenfile:2:1: "),
        ("comands: {}", "Lateenfile:1: there is an unknown field `comands`"),
        ("commands: {a: {run: x, port: 5}}", "commands.a: there is an unknown field `port`"),
        ("commands: {a: {env: {}}}", "commands.a: there is no `run`"),
        ("commands: 5", "commands: expected a mapping, got a number"),
        ("commands: {a: 5}", "commands.a: expected a command line, a list of words or a mapping"),
        ("commands: {a: ''}", "commands.a: a command is empty"),
        ('commands: {a: "un\'closed"}', "commands.a: no closing quotation"),
        ("gatewayNamespace: true", "gatewayNamespace: expected a string, got true or false"),
        (
            "# words\ncommands:\n  good: run\n  bad:\n    run: x\n    port: 5\n",
            "Lateenfile:6: commands.bad: there is an",
        ),
        (
            "meshConfig:\n  a: 1\ncommands:\n  a: [run, 5]\n",
            "Lateenfile:4: commands.a[1]: expected a string, got a number",
        ),
        ('{"commands": {}, "comands":\n\t{}}', "Lateenfile:1: there is an unknown field `comands`"),
        ("- 1", "Lateenfile:1: expected a mapping, got a list"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(text: str, words: str) -> None:
    (problem,) = parse(text, PATH).problems
    assert words in problem
    assert problem.startswith("/d/Lateenfile:")
    assert "\n" not in problem


def test_several_files_add_up_and_the_later_wins(tmp_path: Path) -> None:
    paths = [tmp_path / name / "Lateenfile" for name in ("one", "two")]
    for path, text in zip(
        paths, ["commands: {a: first, b: b}\nmeshConfig: {x: 1}", "commands: {a: second}"], strict=True
    ):
        path.parent.mkdir()
        path.write_text(text)
    file = load(paths)
    assert file.commands["a"].argv == ("second",)
    assert file.commands["b"].directory == (tmp_path / "one").resolve()
    assert file.mesh_config == {"x": 1}
