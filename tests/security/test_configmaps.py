"""The trust bundle in every namespace: there before anybody needs it, put right, and never over somebody else's."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import CoreV1Api

from controlplane.security.configmaps import LABELS, ConfigMapBundles
from controlplane.security.keeping import StoreError
from tests.install.clusters import Cluster, status
from tests.security.apiservers import api_server

NAME = "istio-ca-root-cert"


def place(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps/{NAME}"


@asynccontextmanager
async def bundles(cluster: Cluster, *namespaces: str) -> AsyncIterator[ConfigMapBundles]:
    for name in ("lateen-system", *namespaces):
        cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def there() -> list[str]:
        return [obj["metadata"]["name"] for obj in cluster.of("Namespace")]

    async with api_server(cluster) as client:
        yield ConfigMapBundles(CoreV1Api(client), "lateen-system", NAME, there)


def told(cluster: Cluster) -> dict[str, str]:
    return {obj["metadata"]["namespace"]: obj["data"]["root-cert.pem"] for obj in cluster.of("ConfigMap")}


def foreign(namespace: str) -> dict[str, Any]:
    meta = {"name": NAME, "namespace": namespace, "labels": {"istio.io/config": "true"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"root-cert.pem": "theirs"}}


async def test_our_own_first_then_all_but_the_systems() -> None:
    cluster = Cluster()
    async with bundles(cluster, "shop", "default", "kube-system") as writer:
        assert await writer.published() is None
        await writer.spread()
        assert told(cluster) == {}  # nothing is known yet
        await writer.publish(b"roots")
        assert told(cluster) == {"lateen-system": "roots"}
        assert await writer.published() == b"roots"
        await writer.spread()
        assert told(cluster) == dict.fromkeys(("lateen-system", "shop", "default"), "roots")
        assert all(LABELS.items() <= obj["metadata"]["labels"].items() for obj in cluster.of("ConfigMap"))


async def test_nothing_is_asked_while_all_is_well_and_a_new_namespace_has_it_at_once() -> None:
    cluster = Cluster()
    async with bundles(cluster, "shop") as writer:
        await writer.publish(b"roots")
        await writer.spread()
        cluster.requests.clear()
        await writer.spread()
        assert cluster.requests == []
        cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new"}})
        await writer.spread()
        assert told(cluster)["new"] == "roots"
        assert all("/new/" in path for _, path in cluster.requests)


async def test_a_rotation_reaches_every_namespace_and_our_own_first() -> None:
    cluster = Cluster()
    async with bundles(cluster, "shop") as writer:
        await writer.publish(b"old")
        await writer.spread()
        await writer.publish(b"old and new")
        assert told(cluster) == {"lateen-system": "old and new", "shop": "old"}
        await writer.spread()
        assert set(told(cluster).values()) == {"old and new"}


async def test_one_that_was_changed_or_removed_is_put_right() -> None:
    cluster = Cluster()
    async with bundles(cluster, "shop", "gone") as writer:
        await writer.publish(b"roots")
        await writer.spread()
        cluster.objects[place("shop")]["data"] = {"root-cert.pem": "an attacker's"}
        cluster.drop(place("gone"))
        await writer.compare()
        await writer.spread()
        assert set(told(cluster).values()) == {"roots"}
        assert len(told(cluster)) == 3


async def test_what_somebody_else_made_is_left() -> None:
    cluster = Cluster()
    async with bundles(cluster, "shop") as writer:
        cluster.put(foreign("shop"))
        await writer.publish(b"roots")
        await writer.spread()
        assert told(cluster) == {"lateen-system": "roots", "shop": "theirs"}


async def test_somebody_elses_roots_in_our_own_namespace_are_not_believed() -> None:
    cluster = Cluster()
    async with bundles(cluster) as writer:
        cluster.put(foreign("lateen-system"))
        with pytest.raises(StoreError, match=r"made by somebody else: tell injection\.rootConfigMap another name"):
            await writer.published()


async def test_a_namespace_that_refuses_it_keeps_no_other_from_having_it() -> None:
    cluster = Cluster()

    def before(method: str, path: str) -> web.Response | None:
        ending = method == "POST" and "/a-ending/" in path
        return status(403, "Forbidden", "it is being terminated") if ending else None

    cluster.before = before
    async with bundles(cluster, "a-ending", "shop") as writer:
        await writer.publish(b"roots")
        await writer.spread()
        assert told(cluster) == dict.fromkeys(("lateen-system", "shop"), "roots")


async def test_two_replicas_write_the_same() -> None:
    cluster = Cluster()
    async with bundles(cluster, "shop") as one, bundles(cluster, "shop") as other:
        await one.publish(b"roots")
        await other.publish(b"roots")
        await one.spread()
        await other.spread()
        assert told(cluster) == dict.fromkeys(("lateen-system", "shop"), "roots")


async def test_a_replica_that_comes_later_tells_what_stands_there() -> None:
    """It publishes nothing, for what is told is right already; namespaces made from then on get it from it, too."""
    cluster = Cluster()
    async with bundles(cluster, "shop") as one:
        await one.publish(b"roots")
    async with bundles(cluster, "shop") as later:
        await later.begin()
        await later.spread()
        assert told(cluster)["shop"] == "roots"


@pytest.mark.parametrize("answer", [status(500, "x", "y"), status(403, "x", "y"), web.Response(text="no JSON")])
async def test_an_api_server_that_does_not_answer_is_said(answer: web.Response) -> None:
    cluster = Cluster()
    async with bundles(cluster) as writer:
        cluster.before = lambda _method, _path: web.Response(status=answer.status, text=answer.text)
        with pytest.raises(StoreError, match="ConfigMaps istio-ca-root-cert"):
            await writer.published()
