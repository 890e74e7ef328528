"""Who a proxy is decides what it gets; what it says about itself does not. Over real TCP, with real certificates."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
import yaml
from google.protobuf import json_format

from controlplane.app.control import ControlPlane
from controlplane.model.decode import decode
from controlplane.model.meta import ref_of
from controlplane.model.settings import Settings
from controlplane.runtime.clock import SystemClock
from controlplane.snapshot.types import LISTENER, SECRET
from controlplane.xds.admission import MeshAdmission
from controlplane.xds.credentials import Certificates
from tests.secrets import tls_secret
from tests.tls import Signed, signed
from tests.xds.served import Client
from tests.xds.tls import ROOT, SERVER, Generations

DENIED = grpc.StatusCode.PERMISSION_DENIED
REFUSED = {DENIED, grpc.StatusCode.INTERNAL}  # the second from gRPC's client, which was still writing
GATEWAY = {"inject.istio.io/templates": "gateway"}
EDGE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  servers:
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: ["*"], tls: {mode: SIMPLE, credentialName: key}}
"""


def objects() -> dict[Any, Any]:
    """Pods of two accounts in each of two namespaces, one of each a gateway, and a Secret."""
    documents: list[Any] = list(yaml.safe_load_all(EDGE))
    for number, (namespace, account, kind) in enumerate(product(("shop", "bank"), ("web", "admin"), ("", "edge-"))):
        meta = {"name": f"{kind}{account}-1", "namespace": namespace, "labels": {"app": account}}
        meta |= {"annotations": GATEWAY} if kind else {}
        status = {"podIP": f"10.0.0.{number}", "phase": "Running"}
        spec = {"serviceAccountName": account}
        documents.append({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": status})
    documents += [tls_secret("key", namespace) for namespace in ("shop", "bank")]
    values: list[Any] = [decode(document).value for document in documents]
    return {ref_of(value): value for value in values}


@asynccontextmanager
async def plane(folder: Path) -> AsyncIterator[tuple[ControlPlane, int]]:
    generations = Generations(folder)
    generations.write(SERVER.pem, SERVER.key_pem, ROOT.pem)
    control = ControlPlane(Settings(), SystemClock(), lambda: 0.5)
    control.apply(objects())
    control.start_serving()
    admission = MeshAdmission(frozenset({"cluster.local", "old.local"}))
    port = await control.server.listen_tcp("127.0.0.1", 0, Certificates(generations.files), admission)
    try:
        yield control, port
    finally:
        await control.server.stop()


class Identity(NamedTuple):
    """A certificate."""

    domain: str
    namespace: str
    account: str
    shown: Signed

    @property
    def is_known(self) -> bool:
        return self.domain in {"cluster.local", "old.local"}


def identity(domain: str, namespace: str, account: str) -> Identity:
    uri = f"spiffe://{domain}/ns/{namespace}/sa/{account}"
    return Identity(domain, namespace, account, signed("x", ROOT, uri=uri))


IDENTITIES = [
    identity(*parts)
    for parts in [
        *product(("cluster.local", "old.local"), ("shop", "bank"), ("web", "admin")),
        ("cluster.local", "sho", "web"),
        ("cluster.local", "shopp", "web"),
        ("cluster.local", "shop", "we"),
        ("cluster.local", "shop", "webb"),
        ("cluster.local.evil", "shop", "web"),
        ("evil", "shop", "web"),
        ("local", "shop", "web"),
    ]
]


class Claim(NamedTuple):
    """What a node says, and whom that would need to be."""

    label: str
    node: str
    metadata: dict[str, Any]
    who: tuple[str, str, str] | None  # namespace, account ("": any), kind; None: nobody may say this

    def fits(self, who: Identity) -> bool:
        if self.who is None or not who.is_known:
            return False
        return self.who[0] == who.namespace and self.who[1] in {"", who.account}


def node(kind: str, name: str, namespace: str, ip: str = "10.0.0.99") -> str:
    return f"{kind}~{ip}~{name}.{namespace}~{namespace}.svc.cluster.local"


def claims() -> list[Claim]:
    found = []
    for namespace, account in product(("shop", "bank"), ("web", "admin")):
        own, edge = f"{account}-1", f"edge-{account}-1"
        who = (namespace, account, "sidecar")
        found += [
            Claim("its Pod", node("sidecar", own, namespace), {}, who),
            Claim("its Pod, said in full", node("sidecar", own, namespace), said(namespace, account, own), who),
            Claim("a gateway", node("router", edge, namespace), {}, (namespace, account, "router")),
            Claim("a Pod by NAME", node("sidecar", "x", namespace), {"NAME": own}, who),
            Claim("a gateway that is none", node("router", own, namespace), {"LABELS": {"app": "edge"}}, None),
            Claim("a gateway without a Pod", node("router", "new", namespace), {}, None),
            Claim("an account", node("sidecar", "new", namespace), {"SERVICE_ACCOUNT": account}, who),
        ]
    for namespace, other in (("shop", "bank"), ("bank", "shop")):
        anybody = (namespace, "", "sidecar")
        found += [
            Claim("no Pod", node("sidecar", "new", namespace), {}, anybody),
            Claim("labels", node("sidecar", "new", namespace), {"LABELS": {"app": "admin"}}, anybody),
            Claim("two namespaces", node("sidecar", "new", namespace), {"NAMESPACE": other}, None),
            Claim("two namespaces, the other way", node("sidecar", "new", other), {"NAMESPACE": namespace}, None),
        ]
    return found


def said(namespace: str, account: str, name: str) -> dict[str, Any]:
    return {"NAMESPACE": namespace, "SERVICE_ACCOUNT": account, "NAME": name, "CLUSTER_ID": "Kubernetes"}


async def answered(port: int, who: Identity, claim: Claim, *, delta: bool) -> Any:
    """OK when it is served, else the status."""
    credentials = grpc.ssl_channel_credentials(ROOT.pem, who.shown.key_pem, who.shown.pem)
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials, options=options) as channel:
        client = Client(channel, node="", delta=delta)
        message = client._request(type_url=LISTENER)
        message.node.id = claim.node
        json_format.ParseDict(claim.metadata, message.node.metadata)
        try:
            await client.send_raw(message.SerializeToString())
            await client.read()
        except (AssertionError, grpc.aio.AioRpcError):
            return await client.code()
        return grpc.StatusCode.OK


@pytest.mark.point
async def test_identity_decides_and_not_the_node_message(tmp_path, monkeypatch, proved):
    """Each certificate with each claim: served if, and only if, all that is claimed is what is proven."""
    monkeypatch.setattr("controlplane.app.control.LATE", 0.01)
    wrong: list[str] = []
    pairs = list(product(IDENTITIES, claims()))
    async with plane(tmp_path) as (_, port):
        for number, (who, claim) in enumerate(pairs):
            found = await answered(port, who, claim, delta=bool(number % 2))
            if found not in ({grpc.StatusCode.OK} if claim.fits(who) else REFUSED):
                wrong.append(f"{who[:3]} says {claim.label} ({claim.node}): {found}")
    proved(
        "identity 7.7", "certificates with node messages that claim the same or something else: answered as they should",
        bound="all", figure=f"all but {wrong[:3]}" if wrong else "all", holds=not wrong, cases=len(pairs), asked=500,
    )  # fmt: skip


async def test_a_gateway_without_a_right_to_it_is_given_no_key(tmp_path):
    """Neither a sidecar nor a Pod that says it is a gateway; the gateway is."""
    async with plane(tmp_path) as (control, port):
        credentials = {who.account: who.shown for who in IDENTITIES[:2]}
        for account, shown in credentials.items():
            names = await secrets_of(port, shown, node("router", f"edge-{account}-1", "shop"))
            assert names == ["kubernetes://key"]
        assert await secrets_of(port, credentials["web"], node("sidecar", "web-1", "shop")) == []
        assert control.server is not None


async def secrets_of(port: int, shown: Signed, who: str) -> list[str]:
    """Asked for by their names, as whoever knows them would."""
    pem = grpc.ssl_channel_credentials(ROOT.pem, shown.key_pem, shown.pem)
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(f"localhost:{port}", pem, options=options) as channel:
        client = Client(channel, node=who)
        await client.send(SECRET, resource_names_subscribe=["kubernetes://key", "kubernetes://bank/key"])
        return [each.name for each in (await client.read()).resources]


async def test_a_pod_may_be_later_than_its_proxy(tmp_path):
    known = objects()
    late = {ref: value for ref, value in known.items() if ref.kind == "Pod" and ref.name == "edge-web-1"}
    async with plane(tmp_path) as (control, port):
        control.apply(dict.fromkeys(late))
        claim = Claim("", node("router", "edge-web-1", "shop"), {}, None)
        asking = asyncio.ensure_future(answered(port, IDENTITIES[0], claim, delta=True))
        await asyncio.sleep(0.2)
        assert not asking.done()
        control.apply(late)
        assert await asking is grpc.StatusCode.OK


async def test_a_stream_ends_when_the_pod_becomes_anothers(tmp_path):
    """A Pod of a StatefulSet keeps its name when its account changes."""
    known = objects()
    ref = next(ref for ref in known if ref.kind == "Pod" and (ref.namespace, ref.name) == ("shop", "web-1"))
    theirs = next(value for one, value in known.items() if (one.namespace, one.name) == ("shop", "admin-1"))
    async with plane(tmp_path) as (control, port):
        shown = IDENTITIES[0].shown
        pem = grpc.ssl_channel_credentials(ROOT.pem, shown.key_pem, shown.pem)
        async with grpc.aio.secure_channel(f"localhost:{port}", pem) as channel:
            client = Client(channel, node=node("sidecar", "web-1", "shop"))
            await client.send(LISTENER)
            await client.read()
            control.apply({ref: decode_pod(theirs, ref)})
            await asyncio.wait_for(client.drain(), 10)
            assert await client.code() is grpc.StatusCode.UNAVAILABLE
            assert "of another account" in await client.details()
            again = Client(channel, node=node("sidecar", "web-1", "shop"))
            await again.send(LISTENER)
            assert await again.code() in REFUSED


def decode_pod(pod: Any, ref: Any) -> Any:
    meta = {"name": ref.name, "namespace": ref.namespace}
    spec = {"serviceAccountName": pod.service_account}
    return decode(
        {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": {"podIP": "10.7.7.7"}}
    ).value
