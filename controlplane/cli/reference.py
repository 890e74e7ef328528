"""docs/cli.md, printed from the command line's own parser, so that it cannot say anything else.

python -m controlplane.cli.reference docs/cli.md
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer

from controlplane.cli.main import EXIT_CODES, app

_HEAD: Final = """# The command line

Printed from the parser (`make reference`); a test fails when they differ. `lateen COMMAND --help` says the same.

Data goes to standard output, everything else to standard error. `-o json` and `-o yaml` are for programs; tables are
plain text for people, `cut` and `grep`. Colours appear on terminals only, and not with `NO_COLOR`.
"""
_COMPLETION: Final = """## Completion

    lateen --install-completion bash     (or zsh, fish)

writes a small file for the shell and has it read at its next start. Names of proxies are completed from the mesh that
runs in the directory.
"""


def reference() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_exit_codes(), *_commands(typer.main.get_command(app), "lateen"), _COMPLETION])


def _exit_codes() -> Iterator[str]:
    yield "## Exit codes\n\n| code | says |\n|---|---|"
    yield from (f"| {code} | {_cell(words)} |" for code, words in EXIT_CODES.items())
    yield ""


def _commands(group: Any, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        yield from _command(command, f"{path} {name}")
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")


def _command(command: Any, path: str) -> Iterator[str]:
    yield f"## {path}\n"
    yield from _help(command.help)
    rows = [row for parameter in command.params if (row := _row(parameter))]
    if rows:
        yield "| | |\n|---|---|"
        yield from rows
        yield ""


def _help(text: str) -> Iterator[str]:
    """Paragraphs; what must not be wrapped (after a line with \\b) stays as it is, indented as code."""
    for paragraph in text.split("\n\n"):
        lines = paragraph.split("\n")
        if lines[0].strip() != "\b":
            yield f"{' '.join(line.strip() for line in lines)}\n"
            continue
        if lines[1].endswith(":"):
            yield f"{lines[1]}\n"
            del lines[1]
        yield "\n".join(f"    {line.removeprefix('  ')}" for line in lines[1:]) + "\n"


def _row(parameter: Any) -> str:
    if parameter.name == "help":
        return ""
    names = sorted(parameter.opts, key=len) if parameter.param_type_name == "option" else [parameter.metavar]
    value = f" `{parameter.metavar}`" if parameter.param_type_name == "option" and not parameter.is_flag else ""
    shown = ", ".join(f"`{name}`" for name in names)
    return f"| {_cell(shown + value)} | {_cell(parameter.help or '')}{_default(parameter)} |"


def _default(parameter: Any) -> str:
    if parameter.required:
        return " (required)"
    default = getattr(parameter.default, "value", parameter.default)
    return f" (`{default}`)" if default not in (None, "", False) else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Write the page to the file that is named, or print it."""
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(reference())
    else:
        typer.echo(reference(), nl=False)


if __name__ == "__main__":
    main()
