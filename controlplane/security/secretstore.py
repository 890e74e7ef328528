"""Roots in a Kubernetes Secret that all control planes of a mesh share.

The first root is a create that fails where there is one, so that of several who start at once one makes it and the
others read it. Later states are patches that name the version they change, and fail where that is not the newest.
"""

from base64 import b64decode, b64encode
from collections.abc import Awaitable
from typing import Any, Final

import msgspec

from controlplane.security.apiserver import NoAnswer, answered
from controlplane.security.keeping import AuthorityError, Kept, StoreError, decode, encode
from controlplane.security.rotation import Roots

NAME: Final = "lateen-ca-secret"
KEY: Final = "roots.json"
_TYPE: Final = "lateen.io/ca-root"
_PATIENCE: Final = 10.0  # seconds


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str


class _Secret(msgspec.Struct, frozen=True):
    metadata: _Metadata
    data: dict[str, str] | None = None


class SecretStore:
    """See `keeping.RootStore`."""

    def __init__(self, api: Any, namespace: str, name: str = NAME) -> None:
        """`api`: `kubernetes.aio.client.CoreV1Api`."""
        self._api = api
        self._namespace = namespace
        self._name = name

    def __str__(self) -> str:
        return f"Secret {self._namespace}/{self._name}"

    async def load(self) -> Kept | None:
        asking = self._api.read_namespaced_secret_without_preload_content(self._name, self._namespace)
        status, body = await self._asked(asking)
        if status == 404:
            return None
        return self._kept(self._expected(status, body, 200))

    async def create(self, roots: Roots) -> Kept | None:
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "type": _TYPE,
            "data": _data(roots),
        }
        asking = self._api.create_namespaced_secret_without_preload_content(self._namespace, body)
        status, answer = await self._asked(asking)
        if status == 409:
            return None
        return Kept(roots, self._expected(status, answer, 201).metadata.resource_version)

    async def replace(self, roots: Roots, before: Kept) -> Kept | None:
        """A merge patch: labels and annotations that others put on it stay."""
        patch = {"metadata": {"resourceVersion": before.revision}, "data": _data(roots)}
        asking = self._api.patch_namespaced_secret_without_preload_content(
            self._name, self._namespace, patch, _content_type="application/merge-patch+json"
        )
        status, body = await self._asked(asking)
        if status in (404, 409):
            return None
        return Kept(roots, self._expected(status, body, 200).metadata.resource_version)

    async def _asked(self, asking: Awaitable[Any]) -> tuple[int, bytes]:
        try:
            return await answered(asking, seconds=_PATIENCE)
        except NoAnswer as error:
            raise StoreError(f"{self}: {error}") from error

    def _expected(self, status: int, body: bytes, wanted: int) -> _Secret:
        if status == 403:
            raise StoreError(f"{self}: we may not read or write it (get, create and patch are needed)")
        if status != wanted:
            raise StoreError(f"{self}: the API server answered with status {status}")
        try:
            return msgspec.json.decode(body, type=_Secret)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise StoreError(f"{self}: the API server's answer is no Secret: {error}") from error

    def _kept(self, secret: _Secret) -> Kept:
        try:
            content = b64decode((secret.data or {})[KEY], validate=True)
        except (KeyError, ValueError) as error:
            raise AuthorityError(f"{self} has no {KEY} that can be read: bring it back from a backup") from error
        return Kept(decode(content, str(self)), secret.metadata.resource_version)


def _data(roots: Roots) -> dict[str, str]:
    return {KEY: b64encode(encode(roots)).decode()}
