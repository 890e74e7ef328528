"""`lateen analyze`: what is wrong with manifests before they are applied, or with a mesh that runs."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import typer

from controlplane.app.offline import analyze as find_problems
from controlplane.cli.asking import ask
from controlplane.cli.objects import Mesh, Place, from_files, running
from controlplane.cli.output import Format, print_document, print_table
from controlplane.cli.proxies import print_problems
from controlplane.local.debug import problem_row
from controlplane.mesh.credential import NO_SECRET
from controlplane.model.codes import CODES
from controlplane.model.problem import Problem
from controlplane.sources.source import worst_first, worth_saying

Rows = Sequence[Mapping[str, Any]]


class FailOn(StrEnum):
    """The mildest problem that makes the exit code 1."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    NEVER = "never"


_FAILING: Final[Mapping[FailOn, frozenset[str]]] = {
    FailOn.ERROR: frozenset({"error"}),
    FailOn.WARNING: frozenset({"error", "warning"}),
    FailOn.INFO: frozenset({"error", "warning", "info"}),
    FailOn.NEVER: frozenset(),
}


def analyze(place: Place, fail_on: str, output: Format, *, live: bool) -> None:
    """Print what is wrong; 1 is the exit code if any of it is as bad as `fail_on`. `live`: files, with what runs."""
    limit = FailOn(fail_on)
    found = _found(place, live=live)
    print_problems(found, output)
    if any(row["level"] in _FAILING[limit] for row in found):
        raise typer.Exit(1)


def _found(place: Place, *, live: bool) -> Rows:
    if place.paths:
        return of_change(place) if live else of_files(place)
    rows: Rows = ask(place.whom, "/problems")
    return rows


def of_files(place: Place) -> Rows:
    """What is wrong with manifests, if they were all there is."""
    return list(map(problem_row, _problems(from_files(place))))


def of_change(place: Place) -> Rows:
    """What manifests would make wrong in a mesh that runs: their own problems, and those that others would get."""
    files, there = from_files(place), running(place.whom)
    after = Mesh({**there.objects, **files.objects}, there.settings, files.problems)
    known = frozenset(_problems(there))
    found = [one for one in _problems(after) if one.origin.ref in files.objects or one not in known]
    return list(map(problem_row, found if place.whom.directory is not None else _without_secrets(found)))


def _without_secrets(found: Sequence[Problem]) -> list[Problem]:
    """A cluster's Secrets are nothing that is read to judge manifests: whether one is there cannot be said."""
    kept = [one for one in found if not one.message.startswith(NO_SECRET)]
    if len(kept) < len(found):
        typer.echo(
            "lateen: a cluster's Secrets are not read: that those which are named exist is taken for granted", err=True
        )
    return kept


def _problems(mesh: Mesh) -> tuple[Problem, ...]:
    return worth_saying(worst_first((*mesh.problems, *find_problems(mesh.objects, mesh.settings))))


def codes(output: Format) -> None:
    """Print all codes."""
    if output is not Format.TABLE:
        print_document(CODES, output)
        return
    print_table(("code", "says"), sorted(CODES.items()))
