"""`lateen tag` and `lateen gateway`: small changes of an installation."""

import typer

from controlplane.cli.clusters import Target, ask
from controlplane.cli.output import Format, print_document, print_table
from controlplane.cli.refusal import Refused
from controlplane.install import tags
from controlplane.install.api import Api, collection
from controlplane.install.names import OURS, REVISION, Place
from controlplane.install.objects import Object, labels_of, ref_of, to_yaml
from controlplane.install.rights import grant
from controlplane.model.validate.common import is_dns_label

_KIND = "MutatingWebhookConfiguration"


def set_tag(name: str, revision: str, target: Target) -> None:
    """It leads to this revision from now on, and to no other."""
    if wrong := tags.wrong(name) or Place(revision=revision).wrong():
        raise Refused(wrong)

    async def work(api: Api) -> None:
        injectors = await _injectors(api)
        found = [one for one in injectors if labels_of(one).get(REVISION) == revision]
        if not found:
            there = ", ".join(sorted(labels_of(one).get(REVISION, "") for one in injectors)) or "none"
            raise Refused(f"no revision {revision} injects here; there are: {there}", code=1)
        patch = tags.setting(found[0], name)
        if not patch:
            raise Refused(f"{found[0]['metadata']['name']} has nothing that asks for {revision}", code=1)
        await api.patch(ref_of(found[0]), patch)
        # The new one first: in between a Pod is asked about twice, which injects once.
        await _take_away(api, name, [one for one in injectors if one not in found])
        typer.echo(
            f"istio.io/rev={name} is revision {revision} from now on, for Pods that are made from now on", err=True
        )

    ask(target, work)


def list_tags(target: Target, output: Format) -> None:
    """All there are."""

    async def work(api: Api) -> None:
        found = tags.tags_of(await _injectors(api))
        if output is Format.TABLE:
            print_table(("tag", "revision", "webhook"), found)
        else:
            print_document([tag._asdict() for tag in found], output)

    ask(target, work)


def remove_tag(name: str, target: Target) -> None:
    """Namespaces that say it get no more proxies."""

    async def work(api: Api) -> None:
        injectors = await _injectors(api)
        if not await _take_away(api, name, injectors):
            raise Refused(f"there is no tag {name}", code=1)

    ask(target, work)


async def _take_away(api: Api, name: str, injectors: list[Object]) -> bool:
    patches = [(ref_of(one), tags.removing(one, name)) for one in injectors]
    for ref, patch in patches:
        if patch:
            await api.patch(ref, patch)
    return any(patch for _, patch in patches)


async def _injectors(api: Api) -> list[Object]:
    found = await api.list(collection(_KIND), OURS)
    return [one | {"kind": _KIND} for one in found]


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
