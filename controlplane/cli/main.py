"""The entrance: names the commands, loads the one that is used, and turns what goes wrong into one line.

`lateen --help` and shell completion run this module on every Tab: it imports little but typer.

Exit codes: 0 well, 1 the answer is no (a proxy is not connected, `--strict` and there are problems, the demo failed),
2 asked wrongly, 130 interrupted.
"""

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from controlplane.cli.output import Document, Format
from controlplane.cli.refusal import Refused
from controlplane.runtime.grpcstart import grpc_settings

app = typer.Typer(
    name="lateen",
    help="A service mesh and ingress control plane: Istio's API, Envoy's data plane, one command on a laptop.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
proxy_config = typer.Typer(help="What a connected proxy is configured with.", no_args_is_help=True)
app.add_typer(proxy_config, name="proxy-config")

Directories = Annotated[list[Path], typer.Argument(metavar="DIR...", help="directories (or files) with manifests")]
Recursive = Annotated[bool, typer.Option("--recursive", "-R", help="read subdirectories too")]
MeshConfig = Annotated[
    Path | None, typer.Option("--mesh-config", metavar="FILE", help="mesh-wide settings, with Istio's MeshConfig names")
]
Where = Annotated[Path, typer.Option("--directory", "-d", metavar="DIR", help="the directory whose mesh is asked")]
Output = Annotated[Format, typer.Option("--output", "-o", help="how the answer is printed")]
ProxyName = Annotated[str, typer.Argument(metavar="PROXY", help="name of a proxy, or how it begins")]

_TRACEBACK = "--traceback"


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
    """Run a mesh on this machine: the manifests' Deployments as local commands, real Envoys beside them."""
    _command("up").up(tuple(directories), recursive=recursive, mesh_config=mesh_config, plain=plain)


@app.command()
def serve(  # noqa: PLR0913  (the options of one command)
    directories: Directories,
    *,
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
) -> None:
    """Run the control plane alone: Envoys that somebody else starts connect to it."""
    _command("serve").serve(
        tuple(directories),
        recursive=recursive,
        mesh_config=mesh_config,
        xds_socket=xds_socket,
        address=address,
        certificates=certificates,
    )


@app.command()
def demo(*, keep: Annotated[bool, typer.Option("--keep", help="leave it running afterwards")] = False) -> None:
    """Watch a canary shift real calls between two versions, on this machine, in under a minute."""
    _command("demo").demo(keep=keep)


@app.command("compile")
def compile_(  # noqa: PLR0913  (the options of one command)
    *,
    paths: Annotated[
        list[str], typer.Option("--filename", "-f", metavar="PATH", help="a file, a directory, or - for standard input")
    ],
    kind: Annotated[str, typer.Option("--type", metavar="TYPE", help="sidecar or gateway")],
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
    output: Annotated[Document, typer.Option("--output", "-o", help="how the document is printed")] = Document.JSON,
) -> None:
    """Print the complete Envoy configuration of one proxy, from files, without a mesh."""
    _command("compile").compile_(
        paths,
        who=(kind, namespace, name, labels, ip, service_account, metadata),
        mesh_config=mesh_config,
        recursive=recursive,
        strict=strict,
        show_secrets=show_secrets,
        output=output,
    )


@app.command("proxy-status")
def proxy_status(
    proxy: Annotated[str | None, typer.Argument(metavar="PROXY", help="only this one")] = None,
    *,
    directory: Where = Path(),
    output: Output = Format.TABLE,
) -> None:
    """Which proxies are connected, and whether they have what they should have."""
    _command("proxies").status(directory, proxy, output)


def _config_command(section: str) -> None:
    @proxy_config.command(section, help=f"The {section} of a proxy." if section != "all" else "Everything.")
    def show(proxy: ProxyName, *, directory: Where = Path(), output: Output = Format.TABLE) -> None:
        _command("proxies").config(directory, proxy, section, output)


for _section in ("listeners", "routes", "clusters", "endpoints", "secrets", "all"):
    _config_command(_section)


@app.command()
def problems(*, directory: Where = Path(), output: Output = Format.TABLE) -> None:
    """What is wrong in a running mesh: every object that does not do what it asks for."""
    _command("proxies").problems(directory, output)


@app.command()
def version(*, output: Output = Format.TABLE) -> None:
    """Versions of Lateen and of what it brings along."""
    _command("version").version(output)


def main() -> None:
    """The script `lateen`."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """One command; the exit code. With `--traceback` anywhere our own bugs are shown whole."""
    whole = _TRACEBACK in arguments
    arguments = [argument for argument in arguments if argument != _TRACEBACK]
    try:
        code = app(arguments, prog_name="lateen", standalone_mode=False)
    except Refused as no:
        return _say(str(no), no.code)
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:  # `lateen ... | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as ended:  # typer's own way out when standard output is closed
        return 0 if isinstance(ended.__context__, BrokenPipeError) else int(ended.code or 0)
    except Exception as error:
        if whole:
            raise
        return _explain(error)
    return code if isinstance(code, int) else 0


def _explain(error: Exception) -> int:
    """What is wrong with the command line, with the machine, or else with us."""
    if isinstance(error, OSError):  # a full disk, no rights
        return _say(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error), 1)
    # typer carries a copy of click whose classes it does not show; what they share is this method.
    format_message = getattr(error, "format_message", None)
    if format_message is None:
        return _say(f"a bug in lateen, please report it: {error!r} ({_TRACEBACK} shows where)", 70)
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(format_message(), err=True)
        return 2
    return _say(format_message(), 2)


def _say(message: str, code: int) -> int:
    typer.echo(f"lateen: {' '.join(message.split())}", err=True)
    return code


if __name__ == "__main__":
    main()
