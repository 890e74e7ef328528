"""How data is printed: a table for people, JSON or YAML for programs."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

import typer


class Format(StrEnum):
    """`-o`, where there is a table to show."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class Document(StrEnum):
    """`-o`, where there is only a document."""

    JSON = "json"
    YAML = "yaml"


def print_document(data: Any, how: Format | Document) -> None:
    """JSON or YAML, keys in the order they come in."""
    if how == Format.YAML:
        import yaml  # noqa: PLC0415  (loaded when it is used)

        typer.echo(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120), nl=False)
    else:
        import msgspec  # noqa: PLC0415  (as above; the standard library takes seconds to indent ten thousand hosts)

        typer.echo(msgspec.json.format(msgspec.json.encode(data), indent=2).decode())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Columns as `kubectl` aligns them: plain text that cut and grep understand."""
    texts = [[" ".join(str(cell).split()) for cell in row] for row in rows]
    header = [column.upper() for column in columns]
    widths = [max(map(len, column)) for column in zip(header, *texts, strict=True)]
    for row in (header, *texts):
        typer.echo("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
