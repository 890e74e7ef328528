"""`lateen tag` and `lateen gateway`: small changes of an installation."""

from collections.abc import Mapping
from typing import Any

import typer

from controlplane.cli.clusters import Target, ask
from controlplane.cli.installation import failed
from controlplane.cli.output import Format, print_document, print_table
from controlplane.cli.progress import telling
from controlplane.cli.refusal import Refused
from controlplane.install import tagging
from controlplane.install.api import Api
from controlplane.install.installing import FailedError, Installer
from controlplane.install.names import Place
from controlplane.install.objects import to_yaml
from controlplane.install.reading import BadValuesError, checked
from controlplane.install.rights import grant
from controlplane.install.upgrading import Installed
from controlplane.model.validate.common import is_dns_label
from controlplane.runtime.clock import SystemClock

_PATIENCE = 300.0  # seconds


def set_tag(name: str, place: Place, target: Target) -> None:
    """It leads to this revision from now on, and to no other."""

    async def work(api: Api) -> None:
        there = await _there(api, place)
        if wrong := tagging.wrong(name, there):
            raise Refused(wrong)
        if place.revision not in there:
            raise Refused(f"there is no revision {place.revision}; there are: {', '.join(there) or 'none'}", code=1)
        # The new one first: in between a Pod is asked about twice, and injected once.
        await _become(api, place, tagging.with_tag(there[place.revision].values, name))
        for tag in tagging.tags_of(there):
            if tag.name == name and tag.revision != place.revision:
                other = Place(place.namespace, tag.revision)
                await _become(api, other, tagging.without_tag(there[tag.revision].values, name))
        typer.echo(f"istio.io/rev={name} is revision {place.revision}, for Pods that are made from now on", err=True)

    ask(target, work)


def list_tags(place: Place, target: Target, output: Format) -> None:
    """All there are."""

    async def work(api: Api) -> None:
        found = tagging.tags_of(await _there(api, place))
        if output is Format.TABLE:
            print_table(("tag", "revision"), found)
        else:
            print_document([tag._asdict() for tag in found], output)

    ask(target, work)


def remove_tag(name: str, place: Place, target: Target) -> None:
    """Namespaces that say it get no more proxies."""

    async def work(api: Api) -> None:
        there = await _there(api, place)
        having = [tag.revision for tag in tagging.tags_of(there) if tag.name == name]
        if not having:
            raise Refused(f"there is no tag {name}", code=1)
        for revision in having:
            values = tagging.without_tag(there[revision].values, name)
            await _become(api, Place(place.namespace, revision), values)

    ask(target, work)


async def _there(api: Api, place: Place) -> Mapping[str, Installed]:
    if wrong := place.wrong():
        raise Refused(f"--{wrong}")
    try:
        return await tagging.revisions(api, place.namespace)
    except ValueError as error:
        raise Refused(f"what is installed cannot be read: {error}", code=1) from error


async def _become(api: Api, place: Place, values: Mapping[str, Any]) -> None:
    with telling() as teller:
        one = Installer(api, place, SystemClock(), teller)
        try:
            plan = await one.prepare(checked(values).values)
            if plan.obstacles:
                raise Refused("; ".join(plan.obstacles), code=1)
            await one.carry_out(plan.steps, _PATIENCE)
        except BadValuesError as error:
            raise Refused(f"revision {place.revision} has values that are none: {error}", code=1) from error
        except FailedError as error:
            raise failed(error) from error


def grant_gateway(namespace: str, place: Place, target: Target, *, show: bool) -> None:
    """The control plane may read credentials of gateways in a namespace."""
    if not is_dns_label(namespace):
        raise Refused(f"-n {namespace}: use lower-case letters, digits and '-'")
    if wrong := place.wrong():
        raise Refused(f"--{wrong}")
    objects = grant(place, namespace)
    if show:
        typer.echo(to_yaml(objects), nl=False)
        return

    async def work(api: Api) -> None:
        for obj in objects:
            await api.apply(obj)
            typer.echo(f"applied {obj['kind']} {namespace}/{obj['metadata']['name']}", err=True)

    ask(target, work)
