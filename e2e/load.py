"""Load from a Pod, whatever else is done meanwhile.

    load = Load.begun(shop, "http://server/")
    load.wait_for(1000)
    account = load.ended()
    assert not account.failed, account

On the node of e2e/cluster it is asked over the network, for the API server may be what is away; elsewhere through the
API server. What a Pod in the mesh tells is told past its proxy.
"""

import http.client
from collections.abc import Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import Self

import msgspec

from e2e import inside
from e2e.cluster.addresses import CONTROL
from e2e.kubectl import Kubectl, eventually
from e2e.manifests import container, pod

_PORT = 8099
_PROGRAM = (Path(inside.__file__).parent / "load.py").read_text()
_PATIENCE = 30.0  # seconds: an answer may take ten


class Account(msgspec.Struct, frozen=True):
    """What came of the calls."""

    answers: Mapping[str, int]  # 200s, by body
    failed: Mapping[str, int]  # by what was wrong
    when: tuple[float, ...]  # failures, by the machine's monotonic clock; the first few

    @property
    def total(self) -> int:
        return sum(self.answers.values()) + self.failures

    @property
    def failures(self) -> int:
        return sum(self.failed.values())


class Load(msgspec.Struct, frozen=True):
    """Calls that have begun."""

    kubectl: Kubectl
    name: str
    address: str

    @classmethod
    def begun(
        cls,
        kubectl: Kubectl,
        url: str,
        *,
        name: str = "load",
        connections: int = 4,
        pause: float = 0.0,
        headers: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Self:
        """From a Pod of this name, which waits `pause` seconds between two calls of a connection.

        Returns when it has got its first good answer; what failed until then does not count.
        """
        lines = [f"{key}:{value}" for key, value in (headers or {}).items()]
        command = ("python3", "-c", _PROGRAM, url, str(connections), str(pause), str(_PORT), *lines)
        until_it_works = ("curl", "--silent", "--fail", "--max-time", "5", "--retry", "60", "--retry-all-errors")
        first = (*until_it_works, "--retry-delay", "1", *(f"--header={line}" for line in lines), url)
        manifest = pod(name, container("load", "sh", "-c", f'{_quoted(first)} && exec "$0" "$@"', *command))
        manifest["metadata"]["annotations"] = {"traffic.sidecar.istio.io/excludeInboundPorts": str(_PORT)}
        manifest["metadata"]["labels"] |= labels or {}
        kubectl.apply(manifest)
        kubectl.waited(f"pod/{name}", "condition=Ready")
        load = cls(kubectl, name, kubectl.json("get", "pod", name)["status"]["podIP"])
        eventually(load._is_there)
        return load

    def account(self) -> Account:
        """So far."""
        return self._told("GET")

    def ended(self) -> Account:
        """When every request that was out has been answered."""
        return self._told("POST")

    def wait_for(self, more: int) -> None:
        """Until so many more calls were answered, well or not."""
        goal = self.account().total + more
        until = monotonic() + _PATIENCE + more / 50
        while (account := self.account()).total < goal:
            assert monotonic() < until, f"too slow: {account}"
            sleep(0.1)

    def _is_there(self) -> bool:
        try:
            return self.account().total > 0
        except (OSError, http.client.HTTPException):
            return False

    def _told(self, method: str) -> Account:
        if not CONTROL.exists():
            return msgspec.json.decode(self._through_the_api_server(method), type=Account)
        connection = http.client.HTTPConnection(self.address, _PORT, timeout=_PATIENCE)
        try:
            connection.request(method, "/")
            return msgspec.json.decode(connection.getresponse().read(), type=Account)
        finally:
            connection.close()

    def _through_the_api_server(self, method: str) -> str:
        path = f"/api/v1/namespaces/{self.kubectl.namespace}/pods/{self.name}:{_PORT}/proxy/"
        return self.kubectl(*(("get", "--raw", path) if method == "GET" else ("create", "--raw", path, "-f", "-")))


def _quoted(command: tuple[str, ...]) -> str:
    """For a shell."""
    return " ".join(f"'{word}'" for word in command)
