"""The source of a cluster's objects, on a real API server that dies, forgets and gets new kinds."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from random import Random  # noqa: TID251  jitter
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from controlplane.model.decode import decode
from controlplane.model.kinds import BY_NAME
from controlplane.model.meta import ref_of
from controlplane.model.problem import ObjectRef
from controlplane.runtime.clock import SystemClock
from controlplane.sources.kubernetes.access import Access, KubeConfig
from controlplane.sources.kubernetes.source import KubernetesSource
from e2e.cluster import control, store
from e2e.kubectl import PATIENCE, Kubectl, KubectlError
from e2e.manifests import service
from tests.sources.kubernetes.serving import Line

KINDS = [
    BY_NAME["", "Service"],
    BY_NAME["", "Pod"],
    BY_NAME["", "Namespace"],
    BY_NAME["", "Node"],
    BY_NAME["discovery.k8s.io", "EndpointSlice"],
]
PORTS = [{"name": "http", "port": 80}]
WIDGETS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.extensions.istio.io"},
    "spec": {
        "group": "extensions.istio.io",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


class Reading:
    """What the source told, over a line that can be cut."""

    def __init__(self, line: Line, source: KubernetesSource) -> None:
        self.line = line
        self.source = source
        self.applied: dict[ObjectRef, Any] = {}
        self.removed: list[ObjectRef] = []
        self.codes: set[str] = set()

    async def follow(self) -> None:
        async with aclosing(self.source.batches()) as batches:
            async for batch in batches:
                self.codes = {problem.code for problem in batch.problems}
                for ref, value in batch.changes.items():
                    if value is not None:
                        self.applied[ref] = value
                    elif self.applied.pop(ref, None) is not None:
                        self.removed.append(ref)

    async def until(self, holds: Callable[[], bool]) -> float:
        """The seconds it took."""
        began = monotonic()
        async with asyncio.timeout(PATIENCE):
            while not holds():  # noqa: ASYNC110  nothing tells of it
                await asyncio.sleep(0.02)
        return monotonic() - began

    def has(self, kubectl: Kubectl, kind: str, name: str) -> bool:
        return any((ref.kind, ref.namespace, ref.name) == (kind, kubectl.namespace, name) for ref in self.applied)

    def gone(self, kubectl: Kubectl, kind: str) -> list[str]:
        """Names of what was removed from the test's own namespace; others go with tests that are over."""
        return [ref.name for ref in self.removed if (ref.kind, ref.namespace) == (kind, kubectl.namespace)]

    def read(self) -> dict[ObjectRef, Any]:
        """Of the kinds that are compared."""
        kinds = {(kind.group, kind.kind) for kind in KINDS}
        return {ref: value for ref, value in self.applied.items() if (ref.group, ref.kind) in kinds}

    def lists(self) -> Mapping[str, int]:
        return {one.resource: one.lists for one in self.source.standings()}


@asynccontextmanager
async def reading(folder: Path) -> AsyncIterator[Reading]:
    config = yaml.safe_load(await asyncio.to_thread(Path(os.environ["KUBECONFIG"]).read_text))
    (cluster,) = (one["cluster"] for one in config["clusters"])
    server = urlsplit(cluster["server"])
    line = Line(server.port or 443, server.hostname or "")
    await line.open()
    cluster |= {"server": f"https://127.0.0.1:{line.port}", "tls-server-name": server.hostname}
    await asyncio.to_thread((folder / "kubeconfig").write_text, json.dumps(config))
    access = Access(KubeConfig(str(folder / "kubeconfig")), SystemClock(), Random().random)
    seen = Reading(line, KubernetesSource(access, KINDS, SystemClock(), Random().random))
    task = asyncio.get_running_loop().create_task(seen.follow())
    try:
        await seen.until(lambda: bool(seen.applied))
        yield seen
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await access.close()
        await line.close()


async def there(kubectl: Kubectl, *words: str) -> str:
    """As soon as the API server answers."""
    while True:
        try:
            return await asyncio.to_thread(kubectl, *words)
        except KubectlError:
            await asyncio.sleep(0.1)


async def equal(kubectl: Kubectl, seen: Reading) -> None:
    """Waits until every object is what the API server says that it is."""
    async with asyncio.timeout(PATIENCE):
        while await expected(kubectl) != seen.read():  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.2)


async def expected(kubectl: Kubectl) -> dict[ObjectRef, Any]:
    words = ("get", "services,pods,namespaces,nodes,endpointslices", "--all-namespaces", "--output", "json")
    items = json.loads(await there(kubectl, *words))["items"]
    values: list[Any] = [decode(item).value for item in items]
    return {ref_of(value): value for value in values}


async def test_everything_there_is_and_then_what_changes(kubectl: Kubectl, tmp_path: Path) -> None:
    async with reading(tmp_path) as seen:
        await equal(kubectl, seen)
        await asyncio.to_thread(kubectl.apply, service("one", PORTS), service("two", PORTS))
        await seen.until(lambda: seen.has(kubectl, "Service", "two"))
        await asyncio.to_thread(kubectl, "delete", "service", "one")
        await seen.until(lambda: not seen.has(kubectl, "Service", "one"))
        await equal(kubectl, seen)
        assert set(seen.lists().values()) == {1}
        assert not {one.repairs for one in seen.source.standings()} - {0}


@pytest.mark.node
async def test_an_api_server_that_was_away_is_caught_up_with_within_five_seconds(
    kubectl: Kubectl, tmp_path: Path
) -> None:
    await asyncio.to_thread(kubectl.apply, service("stays", PORTS), service("goes", PORTS))
    async with reading(tmp_path) as seen:
        await asyncio.to_thread(control.stop, "kube-apiserver")
        await seen.until(lambda: "ApiServerAway" in seen.codes)
        await asyncio.to_thread(control.start, "kube-apiserver")
        await there(kubectl, "delete", "service", "goes")
        took = await seen.until(lambda: not seen.has(kubectl, "Service", "goes"))
        assert took < 5
        await equal(kubectl, seen)
        assert seen.gone(kubectl, "Service") == ["goes"]
        await seen.until(lambda: "ApiServerAway" not in seen.codes)


@pytest.mark.node
async def test_history_that_was_forgotten_meanwhile_costs_a_list_and_removes_what_is_gone(
    kubectl: Kubectl, tmp_path: Path
) -> None:
    await asyncio.to_thread(kubectl.apply, *(service(f"s{number}", PORTS) for number in range(5)))
    async with reading(tmp_path) as seen:
        await equal(kubectl, seen)
        before = seen.lists()
        await seen.line.close()
        await asyncio.to_thread(kubectl, "delete", "service", "s0")
        await asyncio.to_thread(kubectl.apply, service("new", PORTS))
        with control.stopped("kube-apiserver"):
            await asyncio.to_thread(store.compact)
        await there(kubectl, "get", "service", "new")
        await seen.line.open()
        took = await seen.until(lambda: seen.has(kubectl, "Service", "new") and not seen.has(kubectl, "Service", "s0"))
        assert took < 5
        await equal(kubectl, seen)
        assert seen.lists()["services"] == before["services"] + 1
        assert seen.gone(kubectl, "Service") == ["s0"]


async def test_a_connection_that_is_half_open_is_given_up_within_thirty_seconds(
    kubectl: Kubectl, tmp_path: Path
) -> None:
    async with reading(tmp_path) as seen:
        await asyncio.sleep(1)
        seen.line.freeze()
        await asyncio.to_thread(kubectl.apply, service("one", PORTS))
        assert await seen.until(lambda: seen.has(kubectl, "Service", "one")) < 30
        assert set(seen.lists().values()) == {1}


async def test_a_kind_that_is_new_is_read_and_one_that_is_removed_is_let_go(kubectl: Kubectl, tmp_path: Path) -> None:
    async with reading(tmp_path) as seen:
        await asyncio.to_thread(kubectl.apply, WIDGETS)
        try:
            named = {"apiVersion": "extensions.istio.io/v1", "kind": "Widget", "metadata": {"name": "w"}}
            async with asyncio.timeout(PATIENCE):
                while True:
                    with suppress(KubectlError):
                        await asyncio.to_thread(kubectl.apply, named)
                        break
                    await asyncio.sleep(0.2)
            assert await seen.until(lambda: seen.has(kubectl, "Widget", "w")) < 15
            assert "KindNotSupportedYet" in seen.codes
        finally:
            await asyncio.to_thread(kubectl, "delete", "customresourcedefinition", "widgets.extensions.istio.io")
        await seen.until(lambda: not seen.has(kubectl, "Widget", "w"))
        await seen.until(lambda: "widgets.extensions.istio.io" not in seen.lists())
