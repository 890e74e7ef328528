"""`lateen profile` and `lateen manifest`: what an installation would be, without a cluster."""

from difflib import unified_diff
from typing import Any

import typer
import yaml

from controlplane.cli.installation import Asked, read_asked
from controlplane.cli.output import Document, Format, print_document, print_table
from controlplane.cli.refusal import Refused
from controlplane.install.manifests import Facts, manifests
from controlplane.install.objects import to_yaml
from controlplane.install.profiles import PROFILES
from controlplane.install.reading import BadValuesError, dump, read_values


def list_profiles(output: Format) -> None:
    """All there are."""
    if output is Format.TABLE:
        print_table(("name", "what"), [(name, profile.words) for name, profile in PROFILES.items()])
    else:
        print_document([{"name": name, "what": profile.words} for name, profile in PROFILES.items()], output)


def dump_profile(name: str, output: Document) -> None:
    """All its values, as a file could have them."""
    print_document(_values(name), output)


def diff_profiles(before: str, after: str) -> None:
    """How they differ; the exit code is 1 if they do."""
    old, new = (yaml.safe_dump(_values(name), sort_keys=False).splitlines() for name in (before, after))
    lines = list(unified_diff(old, new, before, after, lineterm="", n=1))
    for line in lines:
        typer.echo(line)
    if lines:
        raise typer.Exit(1)


def generate(asked: Asked, *, istiod: bool, output: Document) -> None:
    """For `kubectl apply --server-side -f -`."""
    read = read_asked(asked)
    for words in read.warnings:
        typer.echo(f"lateen: {words}", err=True)
    objects = manifests(read.values, asked.place, Facts(istiod=istiod))
    if output is Document.YAML:
        typer.echo(to_yaml(objects), nl=False)
    else:
        print_document({"apiVersion": "v1", "kind": "List", "items": objects}, output)


def _values(name: str) -> dict[str, Any]:
    try:
        return dump(read_values(name).values)
    except BadValuesError as error:
        raise Refused(str(error)) from error
