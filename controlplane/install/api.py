"""An API server, as an installation needs it: objects as plain documents, read, applied, scaled and deleted.

What it says no to is a value (`Refused`): who runs the command is told why, and what was done so far stays done.
"""

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlencode

import aiohttp

from controlplane.install.names import FIELD_MANAGER
from controlplane.install.objects import BY_NAME, Object, Ref, ref_of
from controlplane.security.apiserver import NoAnswer
from controlplane.security.apiserver import body as body_of

_PATIENCE: Final = 30.0  # seconds, for one answer
_CONNECT: Final = 5.0  # of these, for a connection
_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT)
_LARGEST: Final = 64 * 1024 * 1024  # bytes of an answer
_PAGE: Final = 500  # objects of a list
_APPLY: Final = "application/apply-patch+yaml"
_JSON_PATCH: Final = "application/json-patch+json"
_MERGE: Final = "application/merge-patch+json"
# Lists of what is there, not of what is in it.
_METADATA: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"


class UnreachableError(Exception):
    """The API server does not answer, or answers what no API server says."""


class RefusedError(Exception):
    """The API server says no. `causes`: (field, message) of each reason it gives."""

    def __init__(self, status: int, reason: str, message: str, causes: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.causes = tuple(causes)


class Answer(NamedTuple):
    """Status, and the document that came with it."""

    status: int
    body: Any


class Asking(Protocol):
    """One question over HTTP. Raises UnreachableError."""

    async def __call__(
        self, method: str, path: str, *, body: Any = None, content: str = "", accept: str = ""
    ) -> Answer: ...


class Api:
    """Questions to one API server."""

    def __init__(self, ask: Asking) -> None:
        self._ask = ask

    async def document(self, path: str) -> Any:
        """What stands at a path; None: nothing. Raises RefusedError, UnreachableError."""
        answer = await self._ask("GET", path)
        return None if answer.status == 404 else _good(answer)

    async def get(self, ref: Ref) -> Object | None:
        """One object, if it is there."""
        found: Object | None = await self.document(ref.path)
        return found

    async def text(self, path: str) -> str:
        """What stands there as text: a Pod's log; "": nothing to be had. Raises RefusedError if that is forbidden."""
        answer = await self._ask("GET", path, accept="*/*")
        if answer.status in {401, 403}:
            _good(answer)
        return answer.body if answer.status == 200 and isinstance(answer.body, str) else ""

    async def list(self, path: str, selector: str = "", *, whole: bool = True, fields: str = "") -> list[Object]:
        """All objects below a path, whole or by their metadata; none where there is no such kind."""
        found: list[Object] = []
        query = {"limit": str(_PAGE), "labelSelector": selector, "fieldSelector": fields}
        while True:
            asked = urlencode({key: value for key, value in query.items() if value})
            answer = await self._ask("GET", f"{path}?{asked}", accept="" if whole else _METADATA)
            if answer.status == 404:
                return found
            page = _good(answer)
            found += page.get("items") or []
            query["continue"] = (page.get("metadata") or {}).get("continue") or ""
            if not query["continue"]:
                return found

    async def apply(self, obj: Object, *, dry_run: bool = False, force: bool = False) -> Object:
        """Server-side apply: what others set stays theirs. Raises RefusedError with 409 where they disagree."""
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        query |= ({"force": "true"} if force else {}) | ({"dryRun": "All"} if dry_run else {})
        path = f"{ref_of(obj).path}?{urlencode(query)}"
        found: Object = _good(await self._ask("PATCH", path, body=obj, content=_APPLY))
        return found

    async def scale(self, ref: Ref, replicas: int) -> None:
        """Once; who owns the number afterwards is whoever changes it next."""
        path = f"{ref.path}/scale?{urlencode({'fieldManager': f'{FIELD_MANAGER}-first'})}"
        _good(await self._ask("PATCH", path, body={"spec": {"replicas": replicas}}, content=_MERGE))

    async def patch(self, ref: Ref, operations: Sequence[Object]) -> None:
        """A JSON Patch, with the tests that are in it."""
        path = f"{ref.path}?{urlencode({'fieldManager': FIELD_MANAGER})}"
        _good(await self._ask("PATCH", path, body=list(operations), content=_JSON_PATCH))

    async def delete(self, path: str, uid: str = "") -> bool:
        """False: it was gone. With `uid`: this one, and not another of its name."""
        body: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"}
        if uid:
            body["preconditions"] = {"uid": uid}
        answer = await self._ask("DELETE", path, body=body, content="application/json")
        if answer.status == 404:
            return False
        _good(answer)
        return True


def _good(answer: Answer) -> Any:
    if 200 <= answer.status < 300 and isinstance(answer.body, dict):
        return answer.body
    said = answer.body if isinstance(answer.body, dict) else {}
    details = said.get("details") or {}
    causes = [(one.get("field", ""), one.get("message", "")) for one in details.get("causes") or []]
    message = str(said.get("message") or answer.body or f"status {answer.status}")
    raise RefusedError(answer.status, str(said.get("reason") or ""), message, causes)


def collection(kind: str, namespace: str = "") -> str:
    """Where all objects of a kind are."""
    return BY_NAME[kind].path(namespace)


class KubernetesApi:
    """`Asking`, over `kubernetes.aio.client.ApiClient`: it brings address, TLS and credentials."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def __call__(
        self, method: str, path: str, *, body: Any = None, content: str = "", accept: str = ""
    ) -> Answer:
        headers = {"Accept": accept or "application/json"} | ({"Content-Type": content} if content else {})
        try:
            async with asyncio.timeout(_PATIENCE):
                verb, url, sent, _, _ = await self._client.param_serialize(
                    method, path, header_params=headers, auth_settings=["BearerToken"]
                )
                asked = await self._client.call_api(verb, url, sent, body, _request_timeout=_TIMEOUT)
                response = asked.response
                async with response:
                    return Answer(response.status, _decoded(await body_of(response, _LARGEST), response.content_type))
        except NoAnswer as error:
            raise UnreachableError(str(error)) from error
        except aiohttp.ConnectionTimeoutError as error:
            raise UnreachableError(
                f"no connection to the API server within {_CONNECT:.0f} s: {error.args[0]}"
            ) from error
        except TimeoutError as error:
            raise UnreachableError(f"the API server did not answer within {_PATIENCE:.0f} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UnreachableError(unreached(error)) from error


def unreached(error: Exception) -> str:
    """Why an API server cannot be asked, in a line."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"the API server {error.host}:{error.port} is not who the kubeconfig says: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        why = os.strerror(error.os_error.errno) if error.os_error.errno else error.os_error
        return f"the API server {error.host}:{error.port} cannot be reached: {why}"
    return f"the API server cannot be asked: {error or type(error).__name__}"


def _decoded(content: bytes, kind: str) -> Any:
    """Raises ValueError."""
    if kind != "application/json":
        return content.decode(errors="replace")
    try:
        found: Mapping[str, Any] = json.loads(content)
    except RecursionError as error:
        raise ValueError("its answer is nested too deep") from error
    return found
