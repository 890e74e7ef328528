"""Gives Services of type LoadBalancer an address of the node, as a cloud would give one of its own.

kube-proxy serves what comes to it. The address goes into the Service's status, and onto the node's link for clients
outside of it, which ask for its hardware address. Runs on the node, with the standard library alone.

    python -m e2e.cluster.loadbalancer
"""

import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPException, HTTPSConnection
from ipaddress import IPv4Address
from time import sleep
from typing import Any

from e2e.cluster.addresses import API_SERVER_PORT, LOAD_BALANCERS, NODE, NODE_LINK, PKI

_AGAIN = 1.0  # seconds until the API server is asked again when it went away
_WATCH = 60  # seconds of one watch


class AddressPool:
    """Which Service has which address; the lowest free one is next."""

    def __init__(self, first: str, last: str) -> None:
        self._all = [str(IPv4Address(n)) for n in range(int(IPv4Address(first)), int(IPv4Address(last)) + 1)]
        self._given: dict[str, str] = {}

    def given(self, service: str, wished: str = "") -> str:
        """The same for the same Service; `wished`, if it may be had. Raises `LookupError` when none is left."""
        if service not in self._given:
            free = [address for address in self._all if address not in self._given.values()]
            if not free:
                raise LookupError(f"no address is left for {service}")
            self._given[service] = wished if wished in free else free[0]
        return self._given[service]

    def services(self) -> set[str]:
        return set(self._given)

    def taken_back(self, service: str) -> str | None:
        return self._given.pop(service, None)


def main() -> int:
    pool = AddressPool(*LOAD_BALANCERS)
    while True:
        try:
            _run(pool)
        except (OSError, HTTPException, ValueError) as error:
            print(f"the API server is asked again in {_AGAIN} s: {error!r}", file=sys.stderr, flush=True)
            sleep(_AGAIN)


def _run(pool: AddressPool) -> None:
    """Every Service as it is, then what becomes of them, until the API server ends the watch."""
    listed = json.loads(_answer("GET", "/api/v1/services"))
    for gone in pool.services() - {_name(service) for service in listed["items"]}:
        _take_back(pool, gone)
    for service in listed["items"]:
        _settle(pool, service)
    for kind, service in _changes(listed["metadata"]["resourceVersion"]):
        _take_back(pool, _name(service)) if kind == "DELETED" else _settle(pool, service)


def _settle(pool: AddressPool, service: dict[str, Any]) -> None:
    if service["spec"].get("type") != "LoadBalancer":
        _take_back(pool, _name(service))
        return
    shown = [entry.get("ip", "") for entry in service.get("status", {}).get("loadBalancer", {}).get("ingress", ())]
    try:
        address = pool.given(_name(service), *shown[:1])
    except LookupError as error:
        print(error, file=sys.stderr, flush=True)
        return
    _on_link("replace", address)
    if shown != [address]:
        _publish(service["metadata"], address)


def _take_back(pool: AddressPool, name: str) -> None:
    if address := pool.taken_back(name):
        _on_link("del", address)


def _name(service: dict[str, Any]) -> str:
    return f"{service['metadata']['namespace']}/{service['metadata']['name']}"


def _changes(since: str) -> Iterator[tuple[str, dict[str, Any]]]:
    with closing(_connection(_WATCH + 10)) as connection:
        connection.request("GET", f"/api/v1/services?watch=1&resourceVersion={since}&timeoutSeconds={_WATCH}")
        for line in connection.getresponse():
            event = json.loads(line)
            if event["type"] == "ERROR":
                return
            yield event["type"], event["object"]


def _publish(metadata: dict[str, Any], address: str) -> None:
    status = {"status": {"loadBalancer": {"ingress": [{"ip": address, "ipMode": "VIP"}]}}}
    path = f"/api/v1/namespaces/{metadata['namespace']}/services/{metadata['name']}/status"
    _answer("PATCH", path, json.dumps(status))
    print(f"{metadata['namespace']}/{metadata['name']}: {address}", flush=True)


def _on_link(what: str, address: str) -> None:
    subprocess.run(["ip", "addr", what, f"{address}/32", "dev", NODE_LINK], check=False)


def _answer(method: str, path: str, body: str | None = None) -> bytes:
    headers = {"Content-Type": "application/merge-patch+json"} if body else {}
    with closing(_connection(10)) as connection:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        data = response.read()
    if response.status >= 400 and response.status not in (404, 409):
        raise HTTPException(f"{method} {path}: {response.status}: {data[:300].decode(errors='replace')}")
    return data


def _connection(timeout: float) -> HTTPSConnection:
    context = ssl.create_default_context(cafile=str(PKI / "ca.crt"))
    context.load_cert_chain(PKI / "admin.crt", PKI / "admin.key")
    return HTTPSConnection(NODE, API_SERVER_PORT, timeout=timeout, context=context)


if __name__ == "__main__":
    sys.exit(main())
