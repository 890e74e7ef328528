"""No Secret leaves its namespace, whatever objects and streams call it, and no sidecar is given one."""

from random import Random  # noqa: TID251  the same cases each time
from typing import Any

import grpc
import msgspec
import pytest
from envoy.service.discovery.v3 import discovery_pb2

from controlplane.app.control import ControlPlane
from controlplane.local.ports import ProxyStatus
from controlplane.local.secrets import ProxySecrets
from controlplane.model.meshconfig import decode_settings
from controlplane.model.problem import Problem
from controlplane.model.proxy import parse_node
from controlplane.runtime.clock import SystemClock
from controlplane.snapshot import types
from controlplane.snapshot.resource import Resource
from controlplane.snapshot.types import SECRET
from controlplane.store import Change
from controlplane.xds.admission import MeshAdmission
from controlplane.xds.protocol.delta import DeltaStream
from controlplane.xds.protocol.sotw import SotwStream
from tests.threats.tainted import ACCOUNT, NAMESPACES, Tainted, all_names, marker, markers_of, mutation, pod_name
from tests.threats.talking import talk
from tests.tls import signed
from tests.xds.tls import ROOT

LABELS = {"LABELS": {"istio": "ingressgateway"}}
ADMISSION = MeshAdmission(frozenset({"cluster.local"}))
SHOWN = {ns: signed("x", ROOT, uri=f"spiffe://cluster.local/ns/{ns}/sa/{ACCOUNT}").pem for ns in NAMESPACES}
STREAMS = 40  # of one mesh, between two changes of it
CHANGES = 5


def plane_of(mesh: Tainted) -> ControlPlane:
    settings, _ = decode_settings(mesh.settings())
    plane = ControlPlane(settings, SystemClock(), lambda: 0.5)
    plane.apply(mesh.first())
    plane.start_serving()
    _keep_company(plane)
    return plane


def _keep_company(plane: ControlPlane) -> None:
    """Proxies that stay: what they see need not be worked out anew for each that comes."""
    proxies = (parse_node(node(kind, namespace), {}) for namespace in NAMESPACES for kind in ("router", "sidecar"))
    changes = [Change(plane.graph.inputs.proxies, str(10**9 + i), proxy) for i, proxy in enumerate(proxies)]
    plane.graph.store.apply(changes)


def node(kind: str, namespace: str) -> str:
    return f"{kind}~10.0.{NAMESPACES.index(namespace)}.1~{pod_name(kind)}.{namespace}~{namespace}.svc.cluster.local"


def said(random: Random, kind: str, namespace: str, *, delta: bool) -> list[bytes]:
    """What a proxy asks for that would like to have more than its own."""
    names = [*all_names(), *(mutation(random) for _ in range(8))]
    messages: list[Any] = []
    for type_url in random.sample(types.PUSH_ORDER, random.randrange(1, 4)):
        messages += [_request(random, SECRET if random.random() < 0.6 else type_url, names, delta=delta) for _ in "ab"]
    messages[0].node.id = node(kind, namespace)
    messages[0].node.metadata.fields["LABELS"].struct_value.fields["istio"].string_value = "ingressgateway"
    return [message.SerializeToString() for message in messages]


def _request(random: Random, type_url: str, names: list[str], *, delta: bool) -> Any:
    asked = random.sample(names, random.randrange(len(names))) if random.random() < 0.8 else []
    if not delta:
        version = random.choice(("", "1"))
        return discovery_pb2.DiscoveryRequest(type_url=type_url, resource_names=asked, version_info=version)
    message = discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=asked)
    if random.random() < 0.2:
        message.resource_names_subscribe.append("*")
    if random.random() < 0.2:
        message.resource_names_unsubscribe.append(random.choice(names))
    if random.random() < 0.2:
        message.initial_resource_versions[random.choice(names)] = "0123456789abcdef"
    return message


@pytest.mark.point
@pytest.mark.parametrize("part", range(4))
async def test_no_stream_brings_a_secret_of_another_namespace(part, proved, size):
    random = Random(part)
    asked = size(1_000, 10_000, 250_000)
    streams = seen = 0
    wrong: set[str] = set()
    while streams < asked:
        mesh = Tainted(random.randrange(2**32))
        plane = plane_of(mesh)
        for _ in range(CHANGES):
            for _ in range(STREAMS):
                namespace, kind = random.choice(NAMESPACES), random.choice(("router", "sidecar"))
                delta = random.random() < 0.7
                messages = said(random, kind, namespace, delta=delta)
                stream = DeltaStream if delta else SotwStream
                done = await talk(plane, stream, ADMISSION, SHOWN[namespace], messages)
                assert done.status is grpc.StatusCode.OK
                found = {one for payload in done.heard for one in markers_of(payload)}
                wrong |= {f"{kind} of {namespace} has {one}" for one in found - {namespace}}
                if kind == "sidecar":
                    wrong |= {f"sidecar of {namespace} has its {one}" for one in found}
                seen += bool(found)
                streams += 1
            plane.apply(mesh.change())
    assert seen > streams // 100  # gateways do get what is theirs
    proved(
        "identity 7.5", "streams of proxies in meshes that name Secrets in every way: Secrets of others in an answer",
        bound="0", figure=f"{len(wrong)} {sorted(wrong)[:3]}" if wrong else "0", holds=not wrong, cases=streams,
        asked=asked,
    )  # fmt: skip


@pytest.mark.point
async def test_a_forged_name_of_a_secret_is_no_name(proved, size):
    """Names are compared as a whole with those the proxy's own listeners and clusters ask for."""
    random = Random(6)
    asked, count, batch = size(10_000, 100_000, 1_000_000), 0, 250
    wrong: list[str] = []
    while count < asked:
        plane = plane_of(Tainted(random.randrange(2**32)))
        for namespace in NAMESPACES:
            for kind in ("router", "sidecar"):
                held = await _held(plane, kind, namespace)
                names = [mutation(random) for _ in range(batch)]
                message = discovery_pb2.DeltaDiscoveryRequest(type_url=SECRET, resource_names_subscribe=names)
                message.node.id = node(kind, namespace)
                done = await talk(plane, DeltaStream, ADMISSION, SHOWN[namespace], [message.SerializeToString()])
                for payload in done.heard:
                    answer = discovery_pb2.DeltaDiscoveryResponse.FromString(payload)
                    wrong += [one.name for one in answer.resources if one.name not in held or one.name not in names]
                    wrong += [one for one in answer.removed_resources if one in held]
                count += batch
    proved(
        "identity 4", "forged names of Secrets: answered with one", bound="0", figure=f"{len(wrong)} {wrong[:3]}",
        holds=not wrong, cases=count, asked=asked,
    )  # fmt: skip


async def _held(plane: ControlPlane, kind: str, namespace: str) -> set[str]:
    """Names of the Secrets a proxy is to have."""
    message = discovery_pb2.DeltaDiscoveryRequest(type_url=SECRET, resource_names_subscribe=["*"])
    message.node.id = node(kind, namespace)
    done = await talk(plane, DeltaStream, ADMISSION, SHOWN[namespace], [message.SerializeToString()])
    answers = map(discovery_pb2.DeltaDiscoveryResponse.FromString, done.heard)
    return {one.name for answer in answers for one in answer.resources}


class _Looked:
    """A control plane to which the proxies of every namespace are connected, as `lateen proxy-config` asks it."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._nodes = [node(kind, namespace) for namespace in NAMESPACES for kind in ("router", "sidecar")]

    def problems(self) -> tuple[Problem, ...]:
        return self._plane.problems()

    def resources(self, name: str) -> tuple[Resource, ...] | None:
        return self._plane.resources(name)

    def proxies(self) -> tuple[ProxyStatus, ...]:
        return tuple(ProxyStatus(id=one, name=one.split("~")[2], type="", connected_seconds=0.0) for one in self._nodes)


async def test_nothing_that_is_printed_has_a_key_in_it():
    """What a person is shown: configuration, secrets, problems, and objects in a traceback."""
    shown = 0
    for seed in range(20):
        mesh = Tainted(seed)
        plane = plane_of(mesh)
        objects = mesh.first()
        text = "".join(map(repr, objects.values())) + "".join(map(str, plane.problems()))
        looked = _Looked(plane)
        for number, proxy in enumerate(looked.proxies()):
            await plane.connected(
                number, msgspec.structs.replace(parse_node(proxy.id, LABELS), service_account=ACCOUNT)
            )
            found = await ProxySecrets(looked, SystemClock(), None).of(proxy.id)
            shown += sum(bool(one.certificates) for one in found)
            text += msgspec.json.encode(found).decode()
            assert "PRIVATE KEY" not in str(await plane.dump(proxy.id))
        assert "PRIVATE KEY" not in text
        assert not markers_of(text.encode())
    assert shown


def test_markers_are_found():
    payload = b"..." + marker("alpha", 1).encode() + b"..." + marker("beta", "x", 2).encode()
    assert markers_of(payload) == {"alpha", "beta"}
