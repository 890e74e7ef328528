"""The trust bundle in a cluster: a ConfigMap in every namespace, which Pods mount before they have anything else.

The one in our own namespace is written before the first certificate is issued. The others follow the namespaces that
there are: one that is new has it within seconds, one that somebody changed is put right within a minute. Every replica
does this; they write the same, and a ConfigMap that is as it should be is not written.

A ConfigMap of that name that somebody else made (an istiod keeps one in every namespace, too) is never changed. In our
own namespace that is an error, for we would believe it ourselves; elsewhere it is said, once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
import structlog

from controlplane.security.apiserver import NoAnswer, answered
from controlplane.security.keeping import StoreError

log = structlog.get_logger(__name__)

KEY: Final = "root-cert.pem"
LABELS: Final[Mapping[str, str]] = {
    "app.kubernetes.io/managed-by": "lateen",
    "app.kubernetes.io/part-of": "lateen",
    "lateen.dev/component": "trust-bundle",
}
_NEVER_IN: Final = frozenset({"kube-system", "kube-public", "kube-node-lease"})
_PATIENCE: Final = 10.0  # seconds
_LOOK_EVERY: Final = 1.0  # seconds, at the namespaces that there are
_LIST_EVERY: Final = 60.0  # seconds, at what stands in them
_PAGE: Final = 100  # ConfigMaps of an answer


class _Metadata(msgspec.Struct, frozen=True):
    namespace: str = ""
    labels: dict[str, str] | None = None


class _ConfigMap(msgspec.Struct, frozen=True):
    metadata: _Metadata
    data: dict[str, str] | None = None

    @property
    def bundle(self) -> str | None:
        return (self.data or {}).get(KEY)

    @property
    def is_ours(self) -> bool:
        return LABELS.items() <= (self.metadata.labels or {}).items()


class _ListMetadata(msgspec.Struct, frozen=True, rename={"next": "continue"}):
    next: str = ""


class _List(msgspec.Struct, frozen=True):
    items: list[_ConfigMap]
    metadata: _ListMetadata = _ListMetadata()


class ConfigMapBundles:
    """See `bundles.BundleWriter`: that is the one in our own namespace; `run` follows with the others."""

    def __init__(self, api: Any, own: str, name: str, namespaces: Callable[[], Iterable[str]]) -> None:
        """`api`: `kubernetes.aio.client.CoreV1Api`. `namespaces`: all that there are now."""
        self._api = api
        self._own = own
        self._name = name
        self._namespaces = namespaces
        self._bundle = ""
        self._right: set[str] = set()  # namespaces that have it
        self._foreign: set[str] = set()  # namespaces that have somebody else's

    def __str__(self) -> str:
        return f"ConfigMap {self._own}/{self._name}"

    async def published(self) -> bytes | None:
        found = await self._read(self._own)
        if found is None or found.bundle is None:
            return None
        if not found.is_ours:
            raise StoreError(f"{self} was made by somebody else: tell injection.rootConfigMap another name")
        return found.bundle.encode()

    async def publish(self, bundle: bytes) -> None:
        self._bundle = bundle.decode()
        self._right.clear()
        await self._write(self._own, there=await self._read(self._own) is not None)
        self._right.add(self._own)

    # In all the others

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        listed = -_LIST_EVERY
        while True:
            await self.begin()
            if loop.time() - listed >= _LIST_EVERY:
                await self.compare()
                listed = loop.time()
            await self.spread()
            await asyncio.sleep(_LOOK_EVERY)

    async def begin(self) -> None:
        """Where nothing was written, because it was right already, that is what is to stand everywhere."""
        if not self._bundle and (found := await self.published()) is not None:
            self._bundle = found.decode()

    async def spread(self) -> None:
        """Into namespaces that do not have it yet. One that refuses it keeps no other from having it."""
        wanted = set(self._namespaces()) - _NEVER_IN
        self._right &= wanted
        if not self._bundle:
            return
        for namespace in sorted(wanted - self._right - self._foreign):
            try:
                await self._put(namespace)
            except StoreError as error:
                log.warning("the trust bundle is not told", namespace=namespace, why=str(error))

    async def _put(self, namespace: str) -> None:
        found = await self._read(namespace)
        if found is not None and not found.is_ours:
            self._foreign.add(namespace)
            log.warning("the trust bundle of somebody else is left", namespace=namespace, name=self._name)
            return
        if found is None or found.bundle != self._bundle:
            await self._write(namespace, there=found is not None)
        self._right.add(namespace)

    async def compare(self) -> None:
        """With all that stand there, some at a time: what is not right is written at the next turn."""
        self._foreign.clear()
        right: set[str] = set()
        query: dict[str, Any] = {"field_selector": f"metadata.name={self._name}", "limit": _PAGE}
        while True:
            asking = self._api.list_config_map_for_all_namespaces_without_preload_content(**query)
            status, body = await self._asked(asking)
            page: _List = self._expected(status, body, (200,), _List)
            right |= {one.metadata.namespace for one in page.items if one.is_ours and one.bundle == self._bundle}
            if not page.metadata.next:
                break
            query["_continue"] = page.metadata.next
        self._right = right

    # One of them

    async def _read(self, namespace: str) -> _ConfigMap | None:
        asking = self._api.read_namespaced_config_map_without_preload_content(self._name, namespace)
        status, body = await self._asked(asking)
        if status == 404:
            return None
        found: _ConfigMap = self._expected(status, body, (200,), _ConfigMap)
        return found

    async def _write(self, namespace: str, *, there: bool) -> None:
        meta = {"name": self._name, "namespace": namespace, "labels": dict(LABELS)}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {KEY: self._bundle}}
        if there:
            asking = self._api.patch_namespaced_config_map_without_preload_content(
                self._name, namespace, body, _content_type="application/merge-patch+json"
            )
        else:
            asking = self._api.create_namespaced_config_map_without_preload_content(namespace, body)
        status, answer = await self._asked(asking)
        if status == 409 and not there:  # another replica was first
            return
        self._expected(status, answer, (200, 201), _ConfigMap)

    async def _asked(self, asking: Awaitable[Any]) -> tuple[int, bytes]:
        try:
            return await answered(asking, seconds=_PATIENCE)
        except NoAnswer as error:
            raise StoreError(f"ConfigMaps {self._name}: {error}") from error

    def _expected(self, status: int, body: bytes, wanted: tuple[int, ...], kind: type[Any]) -> Any:
        if status not in wanted:
            may_not = ": we may not (get, list, create and patch are needed)" if status in (401, 403) else ""
            raise StoreError(f"ConfigMaps {self._name}: the API server answers with status {status}{may_not}")
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise StoreError(f"ConfigMaps {self._name}: the answer is none: {error}") from error
