"""Commands that put Lateen into a cluster and take it out again, as the parser has them.

Like `main`, which adds them, this is run on every Tab: it imports little but typer.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from controlplane.cli.output import Document, Format

Profile = Annotated[str | None, typer.Option("--profile", metavar="NAME", help="default, minimal or demo")]
Files = Annotated[list[Path] | None, typer.Option("--filename", "-f", metavar="FILE", help="values; later ones win")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="one value; may be repeated, wins over files")
]
Namespace = Annotated[str, typer.Option("--namespace", metavar="NS", help="where the control plane runs")]
Revision = Annotated[str, typer.Option("--revision", metavar="NAME", help="one of several, side by side")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="ask the API server what would come of it; write nothing")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="until everything is up")]
Timeout = Annotated[str, typer.Option("--timeout", metavar="DURATION", help="how long at most")]
Force = Annotated[bool, typer.Option("--force", help="set fields of ours again that somebody else has set")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="do not ask")]
Kubeconfig = Annotated[Path | None, typer.Option("--kubeconfig", metavar="FILE", help="which cluster, as for kubectl")]
Context = Annotated[str | None, typer.Option("--context", metavar="NAME", help="of the kubeconfig")]
Table = Annotated[Format, typer.Option("--output", "-o", metavar="table|json|yaml", help="how the answer is printed")]
Printed = Annotated[Document, typer.Option("--output", "-o", metavar="yaml|json", help="how it is printed")]

_HOME = "lateen-system"
_DEFAULT = "default"

profile = typer.Typer(
    help="""Values that go well together.

    \b
    Example:
      lateen profile dump demo
    """,
    no_args_is_help=True,
)
manifest = typer.Typer(
    help="""An installation as manifests.

    \b
    Example:
      lateen manifest generate --profile demo | kubectl apply --server-side -f -
    """,
    no_args_is_help=True,
)
tag = typer.Typer(
    help="""Names for revisions.

    \b
    Namespaces say istio.io/rev=prod, and you say which revision prod is:
      lateen tag set prod --revision 1-2
    """,
    no_args_is_help=True,
)
gateway = typer.Typer(
    help="""Gateways in a cluster.

    \b
    Example:
      lateen gateway grant -n shop
    """,
    no_args_is_help=True,
)


def add_to(app: typer.Typer, command: Callable[[str], Any]) -> None:  # noqa: C901  (a list of commands)
    """`command` loads the module of a command that is used."""

    def asked(name: str | None, files: list[Path] | None, sets: list[str] | None, namespace: str, revision: str) -> Any:
        place = _place(namespace, revision)
        return command("installation").Asked(name, tuple(files or ()), tuple(sets or ()), place)

    def target(kubeconfig: Path | None, context: str | None) -> Any:
        return command("clusters").Target(kubeconfig, context)

    def _place(namespace: str, revision: str) -> Any:
        return command("installation").Place(namespace, revision)

    @app.command()
    def install(  # noqa: PLR0913  (the options of one command)
        *,
        profile: Profile = None,
        filename: Files = None,
        set_: Sets = None,
        namespace: Namespace = _HOME,
        revision: Revision = _DEFAULT,
        dry_run: DryRun = False,
        wait: Wait = True,
        timeout: Timeout = "5m",
        force: Force = False,
        kubeconfig: Kubeconfig = None,
        context: Context = None,
    ) -> None:
        """Put Lateen into a cluster.

        The cluster is kubectl's. Everything is tried before anything is written; what was cut off is finished by the
        same command. What others made is never changed: where an istiod or a webhook of somebody else would take the
        same Pods, it stops and says what there is to choose. See docs/install.md.

        \b
        Examples:
          lateen install --profile demo
          lateen install --set meshConfig.accessLogFile=/dev/stdout --set image=registry.example/lateen:1
          lateen install --revision canary --dry-run
        """
        module = command("installation")
        way = module.Way(dry_run=dry_run, wait=wait, timeout=timeout, force=force)
        module.install(asked(profile, filename, set_, namespace, revision), target(kubeconfig, context), way)

    @app.command()
    def upgrade(  # noqa: PLR0913  (the options of one command)
        *,
        profile: Profile = None,
        filename: Files = None,
        set_: Sets = None,
        namespace: Namespace = _HOME,
        revision: Revision = _DEFAULT,
        dry_run: DryRun = False,
        wait: Wait = True,
        timeout: Timeout = "5m",
        force: Force = False,
        yes: Yes = False,
        kubeconfig: Kubeconfig = None,
        context: Context = None,
    ) -> None:
        """Make an installation this version's.

        With the values it was installed with; `-f` and `--set` change some of them, `--profile` begins anew. Shows what
        changes and what is removed, and asks. With another `--revision` the ingress gateway moves to it.

        \b
        Examples:
          lateen upgrade --dry-run
          lateen upgrade --set controlPlane.autoscaling.maxReplicas=9 --yes
        """
        module = command("installation")
        way = module.Way(dry_run=dry_run, wait=wait, timeout=timeout, force=force, yes=yes)
        module.upgrade(asked(profile, filename, set_, namespace, revision), target(kubeconfig, context), way)

    @app.command("verify-install")
    def verify_install(
        *,
        namespace: Namespace = _HOME,
        revision: Revision = _DEFAULT,
        output: Table = Format.TABLE,
        kubeconfig: Kubeconfig = None,
        context: Context = None,
    ) -> None:
        """Whether an installation is as it should be.

        Every object as it was installed, Deployments up, CRDs served, webhooks and workloads with the mesh's roots. The
        exit code is 1 if anything is not.

        \b
        Example:
          lateen verify-install -o json | jq '.[] | select(.good | not)'
        """
        place = _place(namespace, revision)
        command("installation").verify_install(place, target(kubeconfig, context), output)

    @app.command()
    def uninstall(  # noqa: PLR0913  (the options of one command)
        *,
        namespace: Namespace = _HOME,
        revision: Revision = _DEFAULT,
        purge: Annotated[
            bool, typer.Option("--purge", help="all revisions, CRDs, the authority, the Namespace")
        ] = False,
        delete_my_objects: Annotated[
            bool, typer.Option("--delete-my-objects", help="with --purge: your VirtualServices and so on, too")
        ] = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="show what would be removed")] = False,
        yes: Yes = False,
        kubeconfig: Kubeconfig = None,
        context: Context = None,
    ) -> None:
        """Take Lateen out of a cluster.

        Only what we made: never objects of yours, and no CRD that still has some. Without `--purge` one revision goes;
        CRDs and the mesh's authority stay for the next one.

        \b
        Examples:
          lateen uninstall --revision canary
          lateen uninstall --purge --dry-run
        """
        command("installation").uninstall(
            _place(namespace, revision),
            target(kubeconfig, context),
            purge=purge,
            users=delete_my_objects,
            dry_run=dry_run,
            yes=yes,
        )

    @profile.command("list")
    def profile_list(*, output: Table = Format.TABLE) -> None:
        """All profiles.

        \b
        Example:
          lateen profile list
        """
        command("profiles").list_profiles(output)

    @profile.command("dump")
    def profile_dump(
        name: Annotated[str, typer.Argument(metavar="NAME", help="of a profile")] = _DEFAULT,
        *,
        output: Printed = Document.YAML,
    ) -> None:
        """All values of a profile.

        As a file for `-f` could have them.

        \b
        Example:
          lateen profile dump demo -o json
        """
        command("profiles").dump_profile(name, output)

    @profile.command("diff")
    def profile_diff(
        before: Annotated[str, typer.Argument(metavar="NAME", help="of a profile")],
        after: Annotated[str, typer.Argument(metavar="OTHER", help="of another")],
    ) -> None:
        """How two profiles differ.

        The exit code is 1 if they do.

        \b
        Example:
          lateen profile diff default demo
        """
        command("profiles").diff_profiles(before, after)

    @manifest.command("generate")
    def manifest_generate(  # noqa: PLR0913  (the options of one command)
        *,
        profile: Profile = None,
        filename: Files = None,
        set_: Sets = None,
        namespace: Namespace = _HOME,
        revision: Revision = _DEFAULT,
        istiod: Annotated[bool, typer.Option("--beside-istiod", help="one runs in istio-system")] = False,
        output: Printed = Document.YAML,
    ) -> None:
        """Print the manifests of an installation.

        In an order in which they can be applied; the same values give the same bytes. No cluster is asked.

        \b
        Example:
          lateen manifest generate --profile demo | kubectl apply --server-side -f -
        """
        told = asked(profile, filename, set_, namespace, revision)
        command("profiles").generate(told, istiod=istiod, output=output)

    @tag.command("set")
    def tag_set(
        name: Annotated[str, typer.Argument(metavar="TAG", help="what namespaces say: istio.io/rev=TAG")],
        *,
        revision: Revision = _DEFAULT,
        kubeconfig: Kubeconfig = None,
        context: Context = None,
    ) -> None:
        """Say which revision a tag is.

        Pods that are made from then on get their proxies from it; those that run keep theirs until they are restarted.

        \b
        Example:
          lateen tag set prod --revision 1-2
        """
        command("tags").set_tag(name, revision, target(kubeconfig, context))

    @tag.command("list")
    def tag_list(*, output: Table = Format.TABLE, kubeconfig: Kubeconfig = None, context: Context = None) -> None:
        """All tags.

        \b
        Example:
          lateen tag list
        """
        command("tags").list_tags(target(kubeconfig, context), output)

    @tag.command("remove")
    def tag_remove(
        name: Annotated[str, typer.Argument(metavar="TAG", help="the tag")],
        *,
        kubeconfig: Kubeconfig = None,
        context: Context = None,
    ) -> None:
        """Take a tag away.

        New Pods of namespaces that say it get no proxy.

        \b
        Example:
          lateen tag remove prod
        """
        command("tags").remove_tag(name, target(kubeconfig, context))

    @gateway.command("grant")
    def gateway_grant(
        *,
        of: Annotated[str, typer.Option("-n", metavar="NS", help="the namespace of a gateway's Pods")],
        namespace: Namespace = _HOME,
        show: Annotated[bool, typer.Option("--print", help="print the manifest instead of applying it")] = False,
        kubeconfig: Kubeconfig = None,
        context: Context = None,
    ) -> None:
        """Let gateways of a namespace have credentials.

        The control plane may then read the Secrets of that namespace, and of no other that was not granted. The
        namespace of the ingress gateway that `install` makes is granted by it.

        \b
        Examples:
          lateen gateway grant -n shop
          lateen gateway grant -n shop --print | kubectl apply -f -
        """
        place = _place(namespace, _DEFAULT)
        command("tags").grant_gateway(of, place, target(kubeconfig, context), show=show)

    for name, group in (("profile", profile), ("manifest", manifest), ("tag", tag), ("gateway", gateway)):
        app.add_typer(group, name=name)
