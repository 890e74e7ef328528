"""Asking a running mesh: one of a directory through its debug socket, one of a cluster through its API server.

Whoever is named is asked. Where nobody is, the mesh that runs in this directory is, or else the cluster kubectl would
ask; which one it was is told where it might have been the other.
"""

import json
import shlex
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import typer

from controlplane.cli import clusters
from controlplane.cli.joining import joined
from controlplane.cli.refusal import Refused
from controlplane.cli.replicas import Answer, Silent, ask_replicas
from controlplane.local.debug import connected_proxy
from controlplane.local.statedir import running
from controlplane.runtime.unixhttp import NotFound, request_blocking


class Whom:
    """Which mesh is asked."""

    def __init__(
        self,
        directory: Path | None = None,
        kubeconfig: Path | None = None,
        context: str | None = None,
        namespace: str | None = None,
        *,
        is_told: bool = False,
    ) -> None:
        """As the options say. `namespace`: of the control plane. `is_told`: nothing is to be said of who is asked.

        Refuses with one line who names two meshes.
        """
        named = {"-d": directory, "--kubeconfig": kubeconfig, "--context": context, "--namespace": namespace}
        self.options = "".join(f" {name} {shlex.quote(str(said))}" for name, said in named.items() if said is not None)
        self.is_named = bool(self.options)
        self.cluster = clusters.Target(kubeconfig, context)
        self.namespace = namespace or "lateen-system"
        self._named_directory = directory
        self._is_told = is_told
        self._silent: set[str] = set()  # of whom that was told
        if directory is not None and (kubeconfig, context, namespace) != (None, None, None):
            raise Refused(
                "-d asks the mesh of a directory; --context, --kubeconfig and --namespace a cluster's: not both"
            )

    @cached_property
    def directory(self) -> Path | None:
        """Whose mesh is asked; None: a cluster is."""
        if self.is_named:
            return self._named_directory
        if running(Path()) is None:
            return None if clusters.is_there() else Path()
        if not self._is_told and clusters.is_there():
            typer.echo("lateen: asking the mesh of this directory; --context asks a cluster", err=True)
        return Path()

    @property
    def is_here(self) -> bool:
        """Whether somebody is named, or runs here: other clusters are not asked by a Tab."""
        return self.is_named or running(Path()) is not None

    def tell_silent(self, silent: list[Silent]) -> None:
        """Once, however often they are asked."""
        for one in silent:
            if one.replica not in self._silent:
                typer.echo(f"lateen: {one.replica} does not answer, so its proxies are missing: {one.why}", err=True)
        self._silent |= {one.replica for one in silent}


class Proxy(NamedTuple):
    """One that is connected."""

    id: str  # or, where all proxies are of one control plane, what its user wrote
    name: str
    replica: str  # that it is connected to; "": there is only one


def find_proxy(whom: Whom, text: str) -> Proxy:
    """By its name, its node id, or a beginning that only one proxy has. Refuses with one line.

    Which one is meant is decided over all replicas: a name on one may be the beginning of a name on another.
    """
    if whom.directory is not None:
        return Proxy(text, text, "")
    try:
        return connected_proxy([Proxy(row["id"], row["name"], row["replica"]) for row in ask(whom, "/proxies")], text)
    except NotFound as error:
        raise Refused(str(error), code=1) from error


def ask(whom: Whom, target: str, **query: str) -> Any:
    """The answer, as JSON values; of several replicas what they say together. Refuses with one line."""
    if (directory := whom.directory) is not None:
        return _asked(directory, "GET", target, query)
    answers, silent = ask_replicas(whom.cluster, whom.namespace, _target(target, query))
    whom.tell_silent(silent)
    return joined(target, answers, silent)


def ask_about(whom: Whom, proxy: Proxy, target: str) -> Any:
    """The answer of whoever knows a proxy. Refuses with one line."""
    if (directory := whom.directory) is not None:
        return _asked(directory, "GET", target, {"proxy": proxy.id})
    answers, _ = ask_replicas(whom.cluster, whom.namespace, _target(target, {"proxy": proxy.id}), proxy.replica)
    return joined(target, answers, ())


def ask_each(whom: Whom, target: str) -> list[Answer]:
    """What each replica says. Refuses with one line."""
    if (directory := whom.directory) is not None:
        return [Answer("", 200, _asked(directory, "GET", target, {}))]
    answers, silent = ask_replicas(whom.cluster, whom.namespace, target)
    whom.tell_silent(silent)
    return [answer for answer in answers if answer.status == 200]


def tell(directory: Path, target: str, **query: str) -> Any:
    """Have something done; the answer. Refuses with one line as `ask`, or when it may not be done."""
    return _asked(directory, "POST", target, query)


def _target(target: str, query: Mapping[str, str]) -> str:
    pairs = "&".join(f"{key}={quote(value)}" for key, value in query.items())
    return f"{target}?{pairs}" if pairs else target


def _asked(directory: Path, method: str, target: str, query: Mapping[str, str]) -> Any:
    facts = running(directory)
    if facts is None:
        raise Refused(
            f"no mesh runs in {directory.resolve()} or above; start one: lateen up DIR, or name a cluster: --context"
        )
    try:
        status, body = request_blocking(Path(facts["debug"]), _target(target, query), method)
        answer = json.loads(body)
    except (OSError, ValueError) as error:
        raise Refused(f"the mesh of process {facts['pid']} does not answer: {error}") from error
    if status != 200:
        raise Refused(answer.get("error", f"status {status}"), code=1)
    return answer
