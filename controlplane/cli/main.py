"""The entrance: names the commands, loads the one that is used, and turns what goes wrong into one line.

`lateen --help` and shell completion run this module on every Tab: it imports little but typer.

Each command's docstring is its help: one line for the list of commands, what it does, and an example (`docs/cli.md` is
printed from them). Exit codes are `EXIT_CODES`.
"""

import errno
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final, TextIO

import typer

from controlplane.cli import agent, lifecycle
from controlplane.cli.output import Document, Format
from controlplane.cli.refusal import Refused
from controlplane.cli.whom import Where, asking, said
from controlplane.runtime.grpcstart import grpc_settings

EXIT_CODES: Final = {
    0: "it went well; `up` and `serve`: somebody asked them to end",
    1: "the answer is no: a denied call, no such proxy, `--strict` and problems, the demo went wrong, a full disk, a"
    " dead Envoy",
    2: "asked wrongly, or it cannot be done here: one line on standard error says why",
    70: "a bug in Lateen: one line; `--traceback` (with any command) shows where",
    130: "interrupted",
}

app = typer.Typer(
    name="lateen",
    help="""A service mesh and ingress control plane: Istio's API, Envoy's data plane, one command on a laptop.

    \b
    Begin with:
      lateen demo                       watch a canary, with real calls
      lateen up examples/bill-service   a mesh to play with, until Ctrl-C
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
proxy_config = typer.Typer(
    help="""What a connected proxy is sent.

    \b
    Examples, in the directory of a running mesh:
      lateen proxy-config routes front-tomcat
      lateen proxy-config all front-tomcat -o yaml
    """,
    no_args_is_help=True,
)
app.add_typer(proxy_config, name="proxy-config")
ca = typer.Typer(
    help="""The authority of a running mesh.

    \b
    Examples, in the directory of a running mesh:
      lateen ca show
      lateen ca rotate begin
    """,
    no_args_is_help=True,
)
app.add_typer(ca, name="ca")
rotate = typer.Typer(
    help="""From one root to the next, in three steps.

    \b
    begin      a new root is made, and trusted too
    switch     certificates are issued from the new root
    finish     the old root is trusted no more
    abandon    instead of switch: back to the old root

    The mesh goes on. A step that would cut off a connected proxy is refused, and says which. Proxies take a new root
    within seconds, and a new certificate at half the life of theirs.

    \b
    Example:
      lateen ca rotate begin && lateen ca rotate status
    """,
    no_args_is_help=True,
)
ca.add_typer(rotate, name="rotate")

authz = typer.Typer(
    help="""Who may call whom.

    \b
    Example:
      lateen authz check -f manifests --from shop/front --to shop/cart --method POST --path /items
    """,
    no_args_is_help=True,
)
app.add_typer(authz, name="authz")

OptionalDirectories = Annotated[
    list[Path] | None, typer.Argument(metavar="[DIR]...", help="directories (or files) with manifests")
]
Directories = Annotated[list[Path], typer.Argument(metavar="DIR", help="directories (or files) with manifests")]
Recursive = Annotated[bool, typer.Option("--recursive", "-R", help="read subdirectories too")]
MeshConfig = Annotated[
    Path | None, typer.Option("--mesh-config", metavar="FILE", help="mesh-wide settings, with Istio's MeshConfig names")
]
Output = Annotated[Format, typer.Option("--output", "-o", metavar="table|json|yaml", help="how the answer is printed")]

_TRACEBACK = "--traceback"


def _asked(ctx: typer.Context, target: str) -> Any:
    """For completion: what the mesh says that would be asked. Whatever is wrong, there is nothing to offer.

    A cluster is asked only if it is named: nobody should wait for one, or log in to one, by a Tab.
    """
    try:
        module = _command("asking")
        whom = module.Whom(**said(ctx.params), is_told=True)
        return module.ask(whom, target) if whom.is_here else None
    except (Refused, OSError, ValueError):
        return None


def _connected(ctx: typer.Context) -> list[str]:
    """For completion: proxies."""
    return [proxy["name"] for proxy in _asked(ctx, "/proxies") or ()]


def _named(ctx: typer.Context, *kinds: str) -> list[str]:
    """For completion: NAMESPACE/NAME of objects. Only a mesh of this machine gives out its objects."""
    items = (_asked(ctx, "/objects") or {}).get("items", ())
    metas = [item["metadata"] for item in items if item["kind"] in kinds]
    return sorted({f"{meta.get('namespace', 'default')}/{meta['name']}" for meta in metas})


def _workloads(ctx: typer.Context) -> list[str]:
    return _named(ctx, "Deployment", "Service")


def _services(ctx: typer.Context) -> list[str]:
    return _named(ctx, "Service")


def _pods(ctx: typer.Context) -> list[str]:
    return _named(ctx, "Pod")


def _kinds() -> list[str]:
    return ["sidecar", "gateway"]


ProxyName = Annotated[
    str, typer.Argument(metavar="PROXY", help="name of a proxy, or how it begins", autocompletion=_connected)
]


def _command(module: str) -> Any:
    with grpc_settings():
        return import_module(f"controlplane.cli.{module}")


@app.command()
def up(
    directories: Directories,
    *,
    recursive: Recursive = False,
    mesh_config: MeshConfig = None,
    plain: Annotated[bool, typer.Option("--plain", help="log lines instead of the live table")] = False,
) -> None:
    """Run a mesh on this machine.

    The manifests' Deployments become local commands with real Envoys beside them. Files are watched: what you save
    takes effect at once. Ctrl-C ends everything. See docs/laptop.md.

    \b
    Examples:
      lateen up examples/bill-service
      lateen up -R manifests --mesh-config mesh.yaml --plain
    """
    _command("up").up(tuple(directories), recursive=recursive, mesh_config=mesh_config, plain=plain)


@app.command()
def serve(  # noqa: PLR0913  (the options of one command)
    directories: OptionalDirectories = None,
    *,
    kubernetes: Annotated[
        bool, typer.Option("--kubernetes", help="read a cluster instead: the one it runs in, or else kubectl's")
    ] = False,
    kubeconfig: Annotated[
        str | None, typer.Option("--kubeconfig", metavar="FILE", help="where --kubernetes finds the cluster")
    ] = None,
    context: Annotated[
        str | None, typer.Option("--context", metavar="NAME", help="of the kubeconfig (default: its current one)")
    ] = None,
    recursive: Recursive = False,
    mesh_config: MeshConfig = None,
    xds_socket: Annotated[
        Path | None, typer.Option("--xds-socket", metavar="PATH", help="serve xDS here (default: in .lateen/)")
    ] = None,
    address: Annotated[
        str | None, typer.Option("--listen", metavar="HOST:PORT", help="serve xDS over mTLS here, too")
    ] = None,
    certificates: Annotated[
        Path | None,
        typer.Option("--certificates", metavar="DIR", help="cert-chain.pem, key.pem, root-cert.pem for --listen"),
    ] = None,
    identity: Annotated[
        str | None,
        typer.Option("--identity", metavar="HOST:PORT", help="give certificates to agents here; needs --listen"),
    ] = None,
    authority: Annotated[
        Path | None,
        typer.Option("--ca", metavar="DIR", help="its authority: kept there, or plugged in (default: in .lateen/)"),
    ] = None,
    server_name: Annotated[
        str, typer.Option("--server-name", metavar="NAME", help="what proxies and agents call it")
    ] = "lateend.lateen-system.svc",
    certificate_lifetime: Annotated[
        str, typer.Option("--certificate-lifetime", metavar="DURATION", help="of a workload's certificate")
    ] = "24h",
    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace", metavar="NS", help="be a cluster's own: its root in a Secret here; needs --identity"
        ),
    ] = None,
    revision: Annotated[str, typer.Option("--revision", metavar="NAME", help="of several in one cluster")] = "default",
    injection: Annotated[
        Path | None, typer.Option("--injection", metavar="FILE", help="what is put into Pods: docs/injection.md")
    ] = None,
    webhooks: Annotated[
        str | None, typer.Option("--webhooks", metavar="HOST:PORT", help="answer the API server about Pods here")
    ] = None,
    metrics: Annotated[
        str | None, typer.Option("--metrics", metavar="HOST:PORT", help="answer scrapers here, without TLS: /metrics")
    ] = None,
) -> None:
    """Run the control plane alone.

    Envoys that somebody else starts connect to it: over a Unix socket, or over TCP with mutual TLS. With `--identity`
    each of them has an agent (`lateen agent`), and they speak mutual TLS among themselves; `lateen ca token` says who
    may have which certificate. Problems are told as log lines on standard error.

    With `--namespace` it is a cluster's own, as `lateen install` starts it: the root is a Secret of that namespace, the
    trust bundle a ConfigMap in each, workloads prove themselves by their service accounts, and Pods are injected.

    \b
    Examples:
      lateen serve manifests
      lateen serve --kubernetes --kubeconfig ~/.kube/config
      lateen serve manifests --listen 0.0.0.0:15012 --certificates /etc/lateen/certs
      lateen serve manifests --listen 10.0.0.1:15012 --identity 10.0.0.1:15013
    """
    module = _command("serve")
    if not kubernetes and (kubeconfig is not None or context is not None):
        raise Refused("--kubeconfig and --context need --kubernetes")
    if namespace is None and (injection is not None or webhooks is not None):
        raise Refused("--injection and --webhooks need --namespace")
    module.serve(
        tuple(directories or ()),
        cluster=module.Cluster(kubeconfig, context) if kubernetes else None,
        recursive=recursive,
        mesh_config=mesh_config,
        xds_socket=xds_socket,
        address=address,
        certificates=certificates,
        identity=identity,
        authority=authority,
        server_name=server_name,
        certificate_lifetime=certificate_lifetime,
        metrics=metrics,
        inside=module.Inside(namespace, revision, injection, webhooks) if namespace is not None else None,
    )


@app.command()
def demo(*, keep: Annotated[bool, typer.Option("--keep", help="leave it running afterwards")] = False) -> None:
    """Watch a canary, with real calls.

    Two versions of a service, a client and three Envoys; the VirtualService moves through eight steps, and calls are
    counted at each. Takes under a minute.

    \b
    Example:
      lateen demo --keep        and then play with it
    """
    _command("demo").demo(keep=keep)


@app.command("compile")
def compile_(  # noqa: PLR0913  (the options of one command)
    *,
    paths: Annotated[
        list[str], typer.Option("--filename", "-f", metavar="PATH", help="a file, a directory, or - for standard input")
    ],
    kind: Annotated[str, typer.Option("--type", metavar="TYPE", help="sidecar or gateway", autocompletion=_kinds)],
    namespace: Annotated[str, typer.Option(metavar="NS", help="of the proxy")] = "default",
    name: Annotated[str, typer.Option(metavar="POD", help="of the proxy")] = "proxy",
    labels: Annotated[str, typer.Option(metavar="K=V,...", help="of the proxy's Pod")] = "",
    ip: Annotated[
        str | None, typer.Option("--ip", metavar="IP", help="of the proxy: what runs there is inbound")
    ] = None,
    service_account: Annotated[str, typer.Option(metavar="SA", help="of the proxy")] = "default",
    metadata: Annotated[str, typer.Option(metavar="JSON", help="more of the proxy's node metadata")] = "{}",
    mesh_config: MeshConfig = None,
    recursive: Recursive = False,
    strict: Annotated[bool, typer.Option("--strict", help="exit 1 if there are problems")] = False,
    show_secrets: Annotated[bool, typer.Option("--show-secrets", help="print private keys")] = False,
    output: Annotated[
        Document, typer.Option("--output", "-o", metavar="json|yaml", help="how the document is printed")
    ] = Document.JSON,
) -> None:
    """Print one proxy's configuration, from files.

    One document: listeners, clusters, routes (whole), endpoints, secrets (keys hidden), problems. Nothing runs. The
    same files give the same bytes.

    \b
    Examples:
      lateen compile -f manifests --type sidecar --namespace shop --labels app=cart -o yaml
      kubectl get service,virtualservice -A -o yaml | lateen compile -f - --type gateway --labels istio=ingressgateway
    """
    _command("compile").compile_(
        paths,
        who=(kind, namespace, name, labels, ip, service_account, metadata),
        mesh_config=mesh_config,
        recursive=recursive,
        strict=strict,
        show_secrets=show_secrets,
        output=output,
    )


@app.command()
def inject(  # noqa: PLR0913  (the options of one command)
    *,
    paths: Annotated[
        list[str], typer.Option("--filename", "-f", metavar="PATH", help="a file, a directory, or - for standard input")
    ],
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", metavar="NS", help="of manifests that do not say theirs")
    ] = "default",
    image: Annotated[str | None, typer.Option(metavar="IMAGE", help="of the proxy")] = None,
    revision: Annotated[str | None, typer.Option(metavar="NAME", help="of the control plane")] = None,
    native: Annotated[
        bool | None,
        typer.Option("--native-sidecars/--no-native-sidecars", help="whether the cluster has them (1.29 and later)"),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="settings of injection: fields, or the ConfigMap")
    ] = None,
    mesh_config: MeshConfig = None,
    recursive: Recursive = False,
    output: Annotated[
        Document, typer.Option("--output", "-o", metavar="json|yaml", help="how manifests are printed")
    ] = Document.YAML,
) -> None:
    """Put the sidecar into manifests, where no webhook does.

    Deployments, StatefulSets, DaemonSets, ReplicaSets, ReplicationControllers, Jobs, CronJobs, Pods and Lists of them
    come out with the proxy that the webhook would give to their Pods, everything else as it is, as `kubectl apply -f -`
    takes it. Injected manifests stay as they are. What has no effect is told on standard error. A value that cannot be
    meant so refuses all, with exit code 1.

    \b
    Examples:
      lateen inject -f app.yaml
      kubectl get deployment cart -o yaml | lateen inject -f -
    """
    said = {"image": image, "revision": revision, "nativeSidecars": native}
    _command("inject").inject(
        paths,
        recursive=recursive,
        namespace=namespace,
        mesh_config=mesh_config,
        config=config,
        said={name: value for name, value in said.items() if value is not None},
        output=output,
    )


@app.command("proxy-status")
@asking(_command)
def proxy_status(
    proxy: Annotated[
        str | None,
        typer.Argument(
            metavar="PROXY", help="only this one (or those whose names begin so)", autocompletion=_connected
        ),
    ] = None,
    *,
    whom: Any,
    output: Output = Format.TABLE,
) -> None:
    """Who is connected, and has what it should.

    \b
    SYNCED     everything that was sent was accepted
    STALE      sent, not yet accepted
    REFUSED    the proxy said no to something, and keeps the last good one: see `lateen problems`
    NOT SENT   asked for, and there is nothing to send
    -          not asked for

    \b
    Example:
      lateen proxy-status -d examples/bill-service
    """
    _command("proxies").status(whom, proxy, output)


_MORE_WORDS = {
    "secrets": """What its Envoy really uses, beside what it was given: certificates and roots, whoever brings them.
    Keys are never shown. `-o json` has chains, whole digests, and who uses what.

    \b
    active     Envoy uses what it was given
    stale      Envoy uses something else than it was given, which is shown below it
    expired    Envoy uses it, and nobody takes it any more
    warming    Envoy waits for it
    missing    it is asked for, and there is none
    reported   Envoy cannot be asked from here: its agent says that it has this
    given      Envoy cannot be asked from here: it was given this
    unknown    Envoy cannot be asked from here, and nobody else knows

    """
}


def _config_command(section: str) -> None:
    example = f"\b\nExample:\n  lateen proxy-config {section} front-tomcat"
    words = f"The {section} of a proxy." if section != "all" else "All sections."

    @proxy_config.command(section, help=f"{words}\n\n{_MORE_WORDS.get(section, '')}{example}")
    @asking(_command)
    def show(proxy: ProxyName, *, whom: Any, output: Output = Format.TABLE) -> None:
        _command("proxies").config(whom, proxy, section, output)


for _section in ("listeners", "routes", "clusters", "endpoints", "secrets", "all"):
    _config_command(_section)


@authz.command("check")
@asking(_command)
def authz_check(  # noqa: PLR0913  (the options of one command)
    *,
    caller: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="WHO",
            help="NAMESPACE/NAME of a workload or account, a whole identity, or - for nobody",
            autocompletion=_workloads,
        ),
    ],
    workload: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="NAMESPACE/NAME",
            help="a Deployment, a Pod, or what a Service selects",
            autocompletion=_workloads,
        ),
    ],
    method: Annotated[str, typer.Option(metavar="METHOD", help="of the request")] = "GET",
    path: Annotated[str, typer.Option(metavar="PATH", help="of the request, with its query")] = "/",
    host: Annotated[str, typer.Option(metavar="HOST", help="of the request (default: what --to names)")] = "",
    header: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="of the request; may be repeated")
    ] = None,
    claim: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="of a valid token; lists and objects as JSON")
    ] = None,
    port: Annotated[
        int | None, typer.Option(metavar="PORT", help="of the workload, or of the Service if --to names one")
    ] = None,
    tcp: Annotated[bool, typer.Option("--tcp", help="bytes instead of a request")] = False,
    source_ip: Annotated[str, typer.Option(metavar="IP", help="where the connection comes from")] = "127.0.0.1",
    remote_ip: Annotated[str, typer.Option(metavar="IP", help="of the client before all proxies")] = "",
    sni: Annotated[str, typer.Option(metavar="NAME", help="of the connection")] = "",
    labels: Annotated[str, typer.Option(metavar="K=V,...", help="of the workload, instead of its own")] = "",
    paths: Annotated[
        list[str] | None,
        typer.Option(
            "--filename", "-f", metavar="PATH", help="manifests, instead of a running mesh; - is standard input"
        ),
    ] = None,
    recursive: Recursive = False,
    mesh_config: MeshConfig = None,
    whom: Any,
    output: Output = Format.TABLE,
) -> None:
    """Whether a call is allowed, and by which rule.

    Asks the AuthorizationPolicies of files, or of the mesh that runs. Says what came closest to
    making it otherwise, and what dry runs would do. The exit code is 0 for allowed and 1 for denied. Providers of
    CUSTOM policies are not asked, and taken to agree; mutual TLS and tokens are taken to be as you say.

    \b
    Examples:
      lateen authz check --from shop/front --to shop/cart --method POST --path /items
      lateen authz check -f manifests --from - --to shop/cart -o json
      lateen authz check -f manifests --from shop/front --to shop/db --tcp --port 5432
    """
    module = _command("authz")
    call = module.Call(
        caller=caller,
        workload=workload,
        labels=labels,
        method=method,
        path=path,
        host=host,
        headers=header or [],
        claims=claim or [],
        port=port,
        source=source_ip,
        remote=remote_ip,
        server_name=sni,
        tcp=tcp,
    )
    module.check(call, module.Place(paths or [], recursive, mesh_config, whom), output)


@ca.command("show")
@asking(_command)
def ca_show(*, whom: Any, output: Output = Format.TABLE) -> None:
    """Who signs, and who is trusted.

    \b
    Example:
      lateen ca show -o json | jq -r '.trusted[].sha256'
    """
    _command("authority").show(whom, output)


@ca.command("token")
def ca_token(
    workload: Annotated[str, typer.Argument(metavar="NAMESPACE/ACCOUNT", help="whom it speaks for")],
    *,
    directory: Where = None,
) -> None:
    """Prove who a workload is.

    Prints a token; `lateen agent --token-file` gets its first certificate with it. It is good until the control plane
    ends; a certificate is renewed without it.

    \b
    Example:
      lateen ca token shop/cart
    """
    _command("authority").token(directory or Path(), workload)


@rotate.command("status")
@asking(_command)
def rotate_status(*, whom: Any, output: Output = Format.TABLE) -> None:
    """Where a rotation is, and whom the next step waits for.

    \b
    Example:
      lateen ca rotate status -d examples/bill-service
    """
    _command("authority").status(whom, output)


def _rotate_command(step: str, words: str) -> None:
    @rotate.command(step, help=f"{words}\n\n\b\nExample:\n  lateen ca rotate {step}")
    def take(*, directory: Where = None, output: Output = Format.TABLE) -> None:
        _command("authority").rotate(directory or Path(), step, output)


for _step, _words in {
    "begin": "Trust a new root too.\n\nNothing is issued from it yet.",
    "switch": "Issue from the new root.\n\nRefused while a connected proxy does not trust it.",
    "finish": "Trust the old root no more.\n\nRefused while a connected proxy has a certificate of it.",
    "abandon": "Back to the old root, instead of `switch`.",
}.items():
    _rotate_command(_step, _words)


@app.command()
@asking(_command)
def problems(*, whom: Any, output: Output = Format.TABLE) -> None:
    """What is wrong in a running mesh.

    Every object that does not do what it asks for, with its place in the files, the field and what to do. Worst first.

    \b
    Example:
      lateen problems -o json | jq -r '.[] | .line'
    """
    _command("proxies").problems(whom, output)


describe = typer.Typer(
    help="""What acts on something.

    \b
    Examples:
      lateen describe service shop/cart
      lateen describe pod cart-5d9f4 -n shop -o json
    """,
    no_args_is_help=True,
)
app.add_typer(describe, name="describe")

_Files = Annotated[
    list[str] | None,
    typer.Option("--filename", "-f", metavar="PATH", help="manifests, instead of a running mesh; - is standard input"),
]
_Object = Annotated[str, typer.Option("-n", metavar="NS", help="its namespace")]


@describe.command("service")
@asking(_command)
def describe_service(  # noqa: PLR0913  (the options of one command)
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="of the Service, or NAMESPACE/NAME", autocompletion=_services)
    ],
    *,
    namespace_: _Object = "default",
    paths: _Files = None,
    recursive: Recursive = False,
    mesh_config: MeshConfig = None,
    whom: Any,
    output: Output = Format.TABLE,
) -> None:
    """What acts on calls to a Service.

    Its ports and what they speak, whether somebody said so or it is detected; who is behind it; the VirtualServices,
    DestinationRules and policies that are for it; mutual TLS; and what is wrong with any of these.

    \b
    Example:
      lateen describe service shop/cart
    """
    module = _command("describe")
    module.describe("service", name, namespace_, module.Place(paths or [], recursive, mesh_config, whom), output)


@describe.command("pod")
@asking(_command)
def describe_pod(  # noqa: PLR0913  (as above)
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="of the Pod, how it begins, or NAMESPACE/NAME", autocompletion=_pods),
    ],
    *,
    namespace_: _Object = "default",
    paths: _Files = None,
    recursive: Recursive = False,
    mesh_config: MeshConfig = None,
    whom: Any,
    output: Output = Format.TABLE,
) -> None:
    """What acts on calls to a Pod.

    Its identity, its proxy, its Services with their ports, and whatever is for it: rules, policies, its Sidecar,
    mutual TLS; and what is wrong with any of these. In manifests a Deployment stands for its Pods.

    \b
    Example:
      lateen describe pod cart-5d9f4 -n shop
    """
    module = _command("describe")
    module.describe("pod", name, namespace_, module.Place(paths or [], recursive, mesh_config, whom), output)


@app.command()
@asking(_command)
def analyze(  # noqa: PLR0913  (as above)
    files: Annotated[list[str] | None, typer.Argument(metavar="[FILE]...", help="as with -f")] = None,
    *,
    paths: _Files = None,
    recursive: Recursive = False,
    mesh_config: MeshConfig = None,
    live: Annotated[
        bool, typer.Option("--live", help="with -f: as if they were applied to the mesh that runs")
    ] = False,
    fail_on: Annotated[str, typer.Option("--fail-on", metavar="LEVEL", help="error, warning, info or never")] = "error",
    codes: Annotated[bool, typer.Option("--codes", help="print all codes instead")] = False,
    whom: Any,
    output: Output = Format.TABLE,
) -> None:
    """What is wrong, before or after it is applied.

    With -f of these manifests alone: what they refer to and is not among them is a problem. With -f and --live of the
    running mesh as it would be with them: their problems, and those that others would get. Otherwise of the mesh that
    runs. The exit code is 1 if anything is as bad as --fail-on. Codes are stable: filter by them.

    \b
    Examples:
      lateen analyze -f manifests -R --fail-on warning
      lateen analyze -f new.yaml --live -o json | jq -r '.[].code'
      lateen analyze --codes
    """
    module, paths = _command("analyze"), [*(paths or []), *(files or [])]
    if codes:
        module.codes(output)
        return
    if fail_on not in list(module.FailOn):
        raise Refused(f"--fail-on {fail_on}: there are {', '.join(module.FailOn)}")
    if live and not paths:
        raise Refused("--live needs -f: without it, the mesh that runs is what is looked at")
    module.analyze(module.Place(paths, recursive, mesh_config, whom), fail_on, output, live=live)


@app.command()
@asking(_command)
def wait(  # noqa: PLR0913  (as above)
    what: Annotated[
        str | None,
        typer.Argument(metavar="[KIND/NAME]", help="an object, as kubectl names it (default: all there is)"),
    ] = None,
    *,
    namespace_: _Object = "default",
    until: Annotated[str, typer.Option("--for", metavar="STATE", help="delivered or delete")] = "delivered",
    timeout: Annotated[str, typer.Option("--timeout", metavar="DURATION", help="how long at most")] = "1m",
    whom: Any,
    output: Output = Format.TABLE,
) -> None:
    """Wait until a change is on all proxies concerned.

    What is written now has been read, and every proxy that is sent something because of this object has accepted all
    that it is to have; with --for delete, the object is gone and no proxy has anything of it. The exit code is 1 if
    that is not so in time, or if a proxy says no, and then at once.

    \b
    Examples:
      lateen wait virtualservice/bill-service -n istio-demo
      lateen wait --timeout 10s
    """
    module = _command("wait")
    if until not in list(module.Until):
        raise Refused(f"--for {until}: there are {', '.join(module.Until)}")
    module.wait(whom, module.Waited(what, namespace_, until, timeout), output)


@app.command("bug-report")
@asking(_command)
def bug_report(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="what is written")] = Path("lateen-bug-report.tar.gz"),
    *,
    proxies: Annotated[
        int, typer.Option("--proxies", metavar="N", min=0, help="how many proxies are in it with all they are sent")
    ] = 20,
    whom: Any,
) -> None:
    """Write down all that helps others to help.

    Versions, problems, proxies and what they are sent, settings, the names of objects, logs: one .tar.gz. No key,
    token, password or Secret is in it; look into it all the same before you give it away. What cannot be had is said,
    in the report too.

    \b
    Example:
      lateen bug-report report.tar.gz -d examples/bill-service
    """
    _command("bugreport").write(whom, file, proxies)


@app.command()
@asking(_command)
def dashboard(*, whom: Any, output: Output = Format.TABLE) -> None:
    """What there is to look at, and how.

    \b
    Example:
      lateen dashboard -d examples/bill-service
    """
    _command("dashboard").dashboard(whom, output)


@app.command()
def debug(
    target: Annotated[str, typer.Argument(metavar="PATH", help="what is asked, with its query")],
    *,
    envoy: Annotated[bool, typer.Option("--envoy", help="ask the Envoy beside this agent instead")] = False,
) -> None:
    """Ask the one who runs here, as it is.

    What other commands run in Pods of a cluster, where the sockets are that only answer there: in a control plane's it
    asks the control plane, with --envoy in a proxy's Pod its Envoy. Prints status and answer as JSON.

    \b
    Example:
      lateen debug /proxies
    """
    raise typer.Exit(_asked_here(["--envoy", target] if envoy else [target]))


def _asked_here(arguments: list[str]) -> int:
    code: int = import_module("controlplane.local.asked").main(arguments)
    return code


app.command("agent", help=agent.HELP)(agent.command())
lifecycle.add_to(app, _command)


@app.command()
@asking(_command)
def version(
    *,
    client: Annotated[bool, typer.Option("--client", help="of this program alone: nobody is asked")] = False,
    whom: Any,
    output: Output = Format.TABLE,
) -> None:
    """Versions of Lateen and its parts.

    Of this program; and of control plane and proxies, where a mesh runs.

    \b
    Example:
      lateen version -o json
    """
    _command("version").version(None if client else whom, output)


def main() -> None:
    """The script `lateen`."""
    code = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        _let_go(stream)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """One command; the exit code. With `--traceback` anywhere our own bugs are shown whole."""
    whole = _TRACEBACK in arguments
    arguments = [argument for argument in arguments if argument != _TRACEBACK]
    try:
        code = app(arguments, prog_name="lateen", standalone_mode=False)
        if sys.stdout is not None:  # `>&-`
            sys.stdout.flush()  # what fails here can be told; at the interpreter's end it could not
    except Refused as no:
        return _say(str(no), no.code)
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:  # `lateen ... | head` has seen enough
        _let_go(sys.stdout)
        return 0
    except SystemExit as ended:  # typer's own way out when standard output is closed
        return 0 if isinstance(ended.__context__, BrokenPipeError) else int(ended.code or 0)
    except Exception as error:
        if whole:
            raise
        if isinstance(error, OSError):
            _let_go(sys.stdout)
        return _explain(error)
    return code if isinstance(code, int) else 0


def _let_go(stream: TextIO | None) -> None:
    """What nobody takes any more is dropped: the interpreter would try once more when it ends, and exit with 120."""
    if stream is None:  # `>&-`
        return
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _explain(error: Exception) -> int:
    """What is wrong with the command line, with the machine, or else with us."""
    if isinstance(error, OSError) and error.errno == errno.EIO and error.filename is None:
        return 0  # the terminal is gone, and with it who sat there
    if isinstance(error, OSError):  # a full disk, no rights
        return _say(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error), 1)
    # typer carries a copy of click whose classes it does not show; what they share is this method.
    format_message = getattr(error, "format_message", None)
    if format_message is None:
        return _say(f"a bug in lateen, please report it: {error!r} ({_TRACEBACK} shows where)", 70)
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(format_message(), err=True)
        return 2
    context = getattr(error, "ctx", None)
    hint = f" ({context.command_path} --help)" if context is not None else ""
    return _say(f"{format_message()}{hint}", 2)


def _say(message: str, code: int) -> int:
    typer.echo(f"lateen: {' '.join(message.split())}", err=True)
    return code


if __name__ == "__main__":
    main()
