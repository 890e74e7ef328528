"""Point 2: whatever runs in Pods works with the sidecar in the way, and beside it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from e2e import programs
from e2e.cluster.images import LATEEN
from e2e.kubectl import Kubectl, eventually
from e2e.manifests import container, job, pod, pod_spec, service
from tests.conftest import Proved, Size

pytestmark = [pytest.mark.usefixtures("mesh"), pytest.mark.point, pytest.mark.timeout(600)]

_PROGRAMS = Path(programs.__file__).parent
_SPEAKS, _ASKS = ((_PROGRAMS / name).read_text() for name in ("speaks.py", "asks.py"))
_IDLE = "import signal; signal.pause()"
_PROTOCOLS = ("HTTP", "WebSocket", "TCP, server first", "UDP", "gRPC", "gRPC stream")
_PORTS = [
    {"name": "http", "port": 8080},
    {"name": "tcp-greets", "port": 9000},
    {"name": "udp-echoes", "port": 9001, "protocol": "UDP"},
    {"name": "grpc", "port": 9002},
]
_CURL = ("curl", "--silent", "--fail", "--max-time", "5", "--retry", "20", "--retry-all-errors", "--retry-delay", "1")
# Who calls, and who is called: with a sidecar, or without.
_PAIRS = {
    "both injected": ("client", "server"),
    "caller plain": ("plain-client", "server"),
    "callee plain": ("client", "plain-server"),
    "both plain": ("plain-client", "plain-server"),
}


@pytest.fixture(scope="module")
def town(mesh: None) -> Iterator[Kubectl]:
    """Clients and servers, each with a sidecar and without."""
    del mesh
    own = Kubectl(f"e2e-{uuid4().hex[:8]}")
    own("create", "namespace", own.namespace)
    own("label", "namespace", own.namespace, "istio-injection=enabled")
    eventually(lambda: own("get", "serviceaccount", "default"))
    names = [name for pair in _PAIRS.values() for name in pair]
    own.apply(
        *(_labelled(pod(name, _python(name, _SPEAKS if "server" in name else _IDLE))) for name in set(names)),
        *(service(name, _PORTS) for name in ("server", "plain-server")),
    )
    for name in set(names):
        own.waited(f"pod/{name}", "condition=Ready")
    yield own
    own("delete", "namespace", own.namespace, "--wait=false")


def _python(name: str, source: str, **more: Any) -> dict[str, Any]:
    """Lateen's own image has what these programs need. 1337 is the proxy's user, which is not captured."""
    probe = {"readinessProbe": {"tcpSocket": {"port": 9002}, "periodSeconds": 1}} if source == _SPEAKS else {}
    command = container(name, "python3", "-c", source, securityContext={"runAsUser": 1000}, **probe, **more)
    return {**command, "image": LATEEN}


def _labelled(manifest: dict[str, Any]) -> dict[str, Any]:
    if manifest["metadata"]["name"].startswith("plain-"):
        manifest["metadata"]["labels"]["sidecar.istio.io/inject"] = "false"
    return manifest


def _asked(kubectl: Kubectl, client: str, host: str, times: int) -> dict[str, int]:
    found = json.loads(kubectl.ran(client, "python3", "-c", _ASKS, host, str(times), container=client))
    assert isinstance(found, dict)
    return found


def _injected(kubectl: Kubectl, selector: str) -> list[bool]:
    items = kubectl.json("get", "pods", "--selector", selector)["items"]
    return ["istio-proxy" in [one["name"] for one in item["spec"].get("initContainers", ())] for item in items]


# A caller in plain text waits for a server that speaks first, whose proxy waits for the caller: is it TLS? Where both
# may call, the port has to say which it is (docs/adr/0011-mesh-tls.md).
_PLAIN_PORT = {
    "apiVersion": "security.istio.io/v1",
    "kind": "PeerAuthentication",
    "metadata": {"name": "greets"},
    "spec": {"selector": {"matchLabels": {"app": "server"}}, "portLevelMtls": {"9000": {"mode": "DISABLE"}}},
}


@pytest.fixture
def _plain_port(town: Kubectl, pair: str) -> Iterator[None]:
    if pair != "caller plain":
        yield
        return
    town.apply(_PLAIN_PORT)
    yield
    town("delete", "peerauthentication", "greets")


@pytest.mark.usefixtures("_plain_port")
@pytest.mark.parametrize("pair", _PAIRS)
def test_every_protocol_works(town: Kubectl, pair: str, size: Size, proved: Proved) -> None:
    client, server = _PAIRS[pair]
    assert _injected(town, f"app={client}") == [not client.startswith("plain")]
    assert _injected(town, f"app={server}") == [not server.startswith("plain")]
    eventually(lambda: _asked(town, client, server, 1), lambda well: min(well.values()) == 1)
    times = size(5, 200)
    well = _asked(town, client, server, times)
    assert tuple(well) == _PROTOCOLS
    missing = {name: count for name, count in well.items() if count != times}
    proved(
        "kubernetes 2", f"calls that failed over {', '.join(_PROTOCOLS)}; {pair}",
        bound="0", figure=str(sum(times - count for count in missing.values())), holds=not missing,
        cases=sum(well.values()), asked=times * len(_PROTOCOLS),
    )  # fmt: skip


def test_a_stateful_set_is_called_by_the_names_of_its_pods(town: Kubectl, size: Size, proved: Proved) -> None:
    template = {"metadata": {"labels": {"app": "set"}}, "spec": pod_spec(_python("set", _SPEAKS))}
    spec = {
        "serviceName": "set",
        "replicas": 2,
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": {"app": "set"}},
        "template": template,
    }
    stateful = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "set"}, "spec": spec}
    town.apply(stateful, service("set", _PORTS, clusterIP="None"))
    town.rolled_out("statefulset/set")
    hosts, times = ("set-0.set", "set-1.set", "set"), size(3, 100)
    well = 0
    for host in hosts:
        eventually(lambda host=host: _asked(town, "client", host, 1), lambda found: min(found.values()) == 1)  # type: ignore[misc]
        well += sum(_asked(town, "client", host, times).values())
    asked = times * len(_PROTOCOLS) * len(hosts)
    proved(
        "kubernetes 2", "calls that failed to Pods of a StatefulSet by name, and to its headless Service",
        bound="0", figure=str(asked - well), holds=well == asked, cases=asked, asked=asked,
    )  # fmt: skip


def test_jobs_end_by_themselves_and_init_containers_have_the_mesh(town: Kubectl, size: Size, proved: Proved) -> None:
    """Each Job calls through its sidecar twice: from an init container, and from its own."""
    url, asked = "http://server:8080/", size(2, 20)
    eventually(lambda: _asked(town, "client", "server", 1), lambda found: found["HTTP"] == 1)
    spec = pod_spec(container("work", *_CURL, url), initContainers=[container("asks", *_CURL, url)])
    one = job("once", spec)
    one["spec"] |= {"completions": asked, "parallelism": 2}
    town.apply(one)
    town.waited("job/once", "condition=Complete")
    assert _injected(town, "job-name=once") == [True] * asked
    answers = [
        town("logs", f"pod/{item['metadata']['name']}", f"--container={name}")
        for item in town.json("get", "pods", "--selector", "job-name=once")["items"]
        for name in ("asks", "work")
    ]
    proved(
        "kubernetes 2", "Jobs that completed by themselves, called from an init container and from the Job",
        bound="all", figure=str(asked), holds=answers == ["server"] * asked * 2, cases=asked, asked=asked,
    )  # fmt: skip
