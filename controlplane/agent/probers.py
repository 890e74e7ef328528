"""The application's probes as injection leaves them: by the path that the platform now asks the agent for."""

from collections.abc import Mapping
from typing import Final

import msgspec

_KINDS: Final = {
    "app-health": ("livez", "readyz", "startupz"),
    "app-lifecycle": ("prestopz", "poststartz"),
}


class HttpGet(msgspec.Struct, frozen=True):
    """Headers come with each probe: the platform sends those that the Pod asks for."""

    port: int
    path: str = "/"
    scheme: str = "HTTP"


class TcpSocket(msgspec.Struct, frozen=True):
    port: int


class Grpc(msgspec.Struct, frozen=True):
    port: int
    service: str | None = None


class Prober(msgspec.Struct, frozen=True):
    """One of the three."""

    http: HttpGet | None = msgspec.field(default=None, name="httpGet")
    tcp: TcpSocket | None = msgspec.field(default=None, name="tcpSocket")
    grpc: Grpc | None = None
    seconds: int = msgspec.field(default=1, name="timeoutSeconds")


def parse_probers(text: str) -> Mapping[str, Prober]:
    """ISTIO_KUBE_APP_PROBERS: {"/app-health/cart/readyz": {"httpGet": {"port": 8080, "path": "/ready"}}}.

    Raises ValueError.
    """
    found = msgspec.json.decode(text.encode(), type=dict[str, Prober])
    for path, prober in found.items():
        if not _is_probe_path(path):
            raise ValueError(f"{path} is not /app-health/CONTAINER/livez, readyz or startupz")
        if sum(action is not None for action in (prober.http, prober.tcp, prober.grpc)) != 1:
            raise ValueError(f"{path} needs one of httpGet, tcpSocket and grpc")
    return found


def _is_probe_path(path: str) -> bool:
    parts = path.split("/")
    return len(parts) == 4 and not parts[0] and parts[2] != "" and parts[3] in _KINDS.get(parts[1], ())
