"""`lateen dashboard`: what there is to look at, and how. There is no web page yet, and it says so."""

from pathlib import Path
from shlex import quote
from typing import Final

import typer

from controlplane.cli.asking import Whom, ask
from controlplane.cli.clusters import Target
from controlplane.cli.output import Format, print_document, print_table
from controlplane.local.statedir import StateDirectory, running

_COMMANDS: Final = (
    ("proxies", "lateen proxy-status"),
    ("what a proxy is sent", "lateen proxy-config all PROXY"),
    ("what is wrong", "lateen problems"),
    ("what acts on a service", "lateen describe service NAMESPACE/NAME"),
)


def dashboard(whom: Whom, output: Format) -> None:
    """Print a line for each thing that can be looked at."""
    names = [one["name"] for one in ask(whom, "/proxies")]
    commands = [(what, f"{how}{whom.options}") for what, how in _COMMANDS]
    rows = [
        *commands,
        *(_of_cluster(whom.cluster, names) if whom.directory is None else _of_directory(whom.directory, names)),
    ]
    typer.echo("lateen: there is no web page yet; this is what there is", err=True)
    if output is Format.TABLE:
        print_table(("what", "how"), rows)
    else:
        print_document([{"what": what, "how": how} for what, how in rows], output)


def _of_directory(directory: Path, names: list[str]) -> list[tuple[str, str]]:
    facts = running(directory) or {}
    run = Path(facts.get("debug", "")).parent
    state = StateDirectory(run.parent, run)
    found = []
    for name in names:
        pod, _, namespace = name.rpartition(".")
        socket = state.admin_socket(f"{namespace}.{pod}")
        if socket.exists():
            found.append((f"Envoy of {name}", f"curl --unix-socket {socket} http://envoy/server_info"))
    return found


def _of_cluster(cluster: Target, names: list[str]) -> list[tuple[str, str]]:
    said = {"--kubeconfig": cluster.kubeconfig, "--context": cluster.context}
    kubectl = " ".join(["kubectl", *(f"{name} {quote(str(one))}" for name, one in said.items() if one is not None)])
    parted = (name.rpartition(".") for name in names)
    return [
        (
            f"Envoy of {pod}.{namespace}",
            f"{kubectl} exec -n {quote(namespace)} {quote(pod)} -c istio-proxy -- lateen debug --envoy /server_info",
        )
        for pod, _, namespace in parted
    ]
