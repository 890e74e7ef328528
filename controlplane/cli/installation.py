"""`lateen install`, `upgrade`, `verify-install` and `uninstall`: an installation in a cluster, begun and ended."""

import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

import msgspec
import typer

from controlplane.cli.clusters import Target, ask
from controlplane.cli.output import Format, print_document, print_table
from controlplane.cli.progress import Teller, telling
from controlplane.cli.refusal import Refused
from controlplane.cli.settings import read_mapping
from controlplane.install.api import Api
from controlplane.install.installing import FailedError, Installer
from controlplane.install.names import Place
from controlplane.install.planning import Does, Plan, Step
from controlplane.install.profiles import DEFAULT
from controlplane.install.reading import BadValuesError, Read, checked, combined, merge
from controlplane.install.uninstalling import Farewell, Uninstaller
from controlplane.install.upgrading import Installed, difference, installed, skew
from controlplane.install.values import VERSION
from controlplane.install.verifying import bad, verify
from controlplane.model.durations import parse_duration
from controlplane.runtime.clock import SystemClock


class Asked(msgspec.Struct, frozen=True):
    """What an installation was told on the command line."""

    profile: str | None
    files: tuple[Path, ...]
    sets: tuple[str, ...]
    place: Place


class Way(msgspec.Struct, frozen=True):
    """How it is gone about."""

    dry_run: bool
    wait: bool
    timeout: str
    force: bool
    yes: bool = True

    def patience(self) -> float | None:
        """Seconds; None: nothing is waited for. Refuses what is no duration."""
        try:
            return parse_duration(self.timeout).total_seconds() if self.wait else None
        except ValueError as error:
            raise Refused(f"--timeout {self.timeout}: {error}") from error


def install(asked: Asked, target: Target, way: Way) -> None:
    """From here to ready."""
    patience, read = way.patience(), read_asked(asked)

    async def work(api: Api) -> None:
        with telling() as teller:
            one = Installer(api, asked.place, SystemClock(), teller, force=way.force)
            plan = await one.prepare(read.values)
            _stop_at(plan.obstacles)
            _tell((*read.warnings, *plan.notes), teller)
            if way.dry_run:
                _would(plan.changes)
                return
            await _carried_out(one, plan, patience)
            await _checked_at_the_end(api, one, read, asked.place, patience)

    ask(target, work)


def upgrade(asked: Asked, target: Target, way: Way) -> None:
    """What is there becomes what this version makes of it, and of what is asked for now."""
    patience = way.patience()

    async def work(api: Api) -> None:
        with telling() as teller:
            before = await _installed(api, asked.place)
            read = _upgraded(before, asked)
            one = Installer(api, asked.place, SystemClock(), teller, force=way.force)
            plan = await one.prepare(read.values, upgrade=True)
            _stop_at(plan.obstacles)
            _tell((*read.warnings, *plan.notes), teller)
        _show(plan)
        if way.dry_run or not plan.changes:
            return
        _confirm(f"upgrade from {before.version if before else 'nothing'} to {VERSION}", yes=way.yes)
        with telling() as teller:
            one = Installer(api, asked.place, SystemClock(), teller, force=way.force)
            await _carried_out(one, plan, patience)
            await _checked_at_the_end(api, one, read, asked.place, patience)

    ask(target, work)


def verify_install(place: Place, target: Target, output: Format) -> None:
    """Everything that could be wrong, and whether it is."""

    async def work(api: Api) -> None:
        found = await _installed(api, place)
        if found is None:
            raise Refused(f"{place.namespace} has no installation of revision {place.revision}", code=1)
        with telling() as teller:
            one = Installer(api, place, SystemClock(), teller)
            plan = await one.prepare(checked(found.values).values, upgrade=True)
            checks = await verify(api, plan, place)
        if output is Format.TABLE:
            rows = [("ok" if check.good else "WRONG", check.what, check.words) for check in checks]
            print_table(("", "what", "is"), rows)
        else:
            print_document([check._asdict() for check in checks], output)
        if wrong := bad(checks):
            raise Refused(f"{len(wrong)} of {len(checks)} things are not as they should be", code=1)

    ask(target, _explained(work))


def uninstall(  # noqa: PLR0913  (the options of one command)
    place: Place, target: Target, *, purge: bool, users: bool, dry_run: bool, yes: bool
) -> None:
    """What we made, and nothing else."""
    if users and not purge:
        raise Refused("--delete-my-objects goes with --purge")

    async def work(api: Api) -> None:
        with telling() as teller:
            one = Uninstaller(api, place, SystemClock(), teller)
            farewell = await one.prepare(purge=purge, delete_users=users)
            if not farewell.steps and not farewell.users:
                teller.note("there is nothing of ours here")
                return
            _tell((*farewell.notes, *(f"stays: {words}" for words in farewell.stays)), teller)
            if dry_run:
                _would((*farewell.users, *farewell.steps))
                return
        _confirm(_goodbye(farewell), yes=yes)
        with telling() as teller:
            stayed = await Uninstaller(api, place, SystemClock(), teller).carry_out(farewell)
            _tell((f"stays: {words}" for words in stayed), teller)

    ask(target, _explained(work))


def read_asked(asked: Asked) -> Read:
    """Refuses, after a line for each thing that is wrong."""
    if wrong := asked.place.wrong():
        raise Refused(f"--{wrong}")
    files = [read_mapping(path, "values") for path in asked.files]
    try:
        return checked(combined(asked.profile or DEFAULT, files, asked.sets))
    except BadValuesError as error:
        raise _refused_for(error) from error


def _upgraded(before: Installed | None, asked: Asked) -> Read:
    """What was installed, with what is asked for now on top; a profile begins anew."""
    if before is None or asked.profile is not None:
        return read_asked(asked)
    if why := skew(before.version, VERSION):
        raise Refused(why, code=1)
    files = [read_mapping(path, "values") for path in asked.files]
    try:
        now = combined(DEFAULT, files, asked.sets)
        return checked(merge(before.values, now))
    except BadValuesError as error:
        raise _refused_for(error) from error


async def _installed(api: Api, place: Place) -> Installed | None:
    if wrong := place.wrong():
        raise Refused(f"--{wrong}")
    try:
        return await installed(api, place)
    except ValueError as error:
        raise Refused(f"what is installed cannot be read: {error}", code=1) from error


async def _carried_out(one: Installer, plan: Plan, patience: float | None) -> None:
    try:
        await one.carry_out(plan.steps, patience)
    except FailedError as error:
        raise failed(error) from error


async def _checked_at_the_end(api: Api, one: Installer, read: Read, place: Place, patience: float | None) -> None:
    """As `verify-install` would, once everything is up."""
    if patience is None:
        return
    plan = await one.prepare(read.values)
    wrong = bad(await verify(api, plan, place))
    for check in wrong:
        typer.echo(f"{check.what} {check.words}", err=True)
    if wrong:
        raise Refused("it is installed, and not as it should be: lateen verify-install looks again", code=1)
    typer.echo(f"lateen {VERSION} runs in {place.namespace}, revision {place.revision}", err=True)


def _explained(work: Callable[[Api], Awaitable[None]]) -> Callable[[Api], Awaitable[None]]:
    async def explained(api: Api) -> None:
        try:
            await work(api)
        except FailedError as error:
            raise failed(error) from error

    return explained


def failed(error: FailedError) -> Refused:
    """After a line for each thing that is known of it."""
    for line in error.lines:
        typer.echo(line, err=True)
    return Refused(str(error), code=1)


def _refused_for(error: BadValuesError) -> Refused:
    for line in error.lines[:-1]:
        typer.echo(f"lateen: {line}", err=True)
    return Refused(error.lines[-1])


def _stop_at(obstacles: Sequence[str]) -> None:
    """Nothing was written yet."""
    for words in obstacles[:-1]:
        typer.echo(f"lateen: {words}", err=True)
    if obstacles:
        raise Refused(obstacles[-1], code=1)


def _tell(notes: Iterable[str], teller: Teller) -> None:
    for words in notes:
        teller.note(words)


def _would(steps: Sequence[Step]) -> None:
    """On standard output, for it is what was asked for."""
    for step in steps:
        typer.echo(f"{step.does:<10} {step.ref}")
    typer.echo("nothing was written" if steps else "there is nothing to do", err=True)


def _show(plan: Plan) -> None:
    for step in plan.changes:
        typer.echo(f"{step.does:<10} {step.ref}")
        if step.does is Does.CHANGE:
            for line in difference(step):
                typer.echo(f"    {line}")
    if not plan.changes:
        typer.echo("there is nothing to do", err=True)


def _goodbye(farewell: Farewell) -> str:
    of_users = f", and {len(farewell.users)} objects of users" if farewell.users else ""
    return f"remove {len(farewell.steps)} objects{of_users}"


def _confirm(what: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused(f"--yes is needed to {what}: nobody is here to be asked")
    if not typer.confirm(f"{what}?", err=True):
        raise Refused("nothing was done", code=1)
