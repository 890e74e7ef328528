"""Small API servers over real HTTP: one that reviews tokens, one that keeps Secrets with versions."""

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration

Answer = Callable[[web.Request, Any], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def api_server(answer: Answer) -> AsyncIterator[ApiClient]:
    """A client of a server that answers everything with `answer`."""

    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        content = await request.read()
        return await answer(request, json.loads(content) if content else None)  # type: ignore[arg-type]

    runner = web.ServerRunner(web.Server(respond))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    configuration = Configuration(host=f"http://127.0.0.1:{port}")
    try:
        async with ApiClient(configuration) as client:
            yield client
    finally:
        await runner.cleanup()


class Reviews:
    """Reviews tokens: `said` maps a token to the status it gets, or to a response as it is."""

    def __init__(self) -> None:
        self.said: dict[str, Any] = {}
        self.asked: list[str] = []
        self.at_once = self.most_at_once = 0
        self.hold: asyncio.Event | None = None

    async def __call__(self, request: web.Request, body: Any) -> web.StreamResponse:
        assert (request.method, request.path) == ("POST", "/apis/authentication.k8s.io/v1/tokenreviews")
        assert body["spec"]["audiences"] == ["istio-ca"]
        token = body["spec"]["token"]
        self.asked.append(token)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.hold is not None:
                await self.hold.wait()
            found = self.said.get(token, {"authenticated": False, "error": "invalid bearer token"})
            if isinstance(found, web.StreamResponse):
                return found
            return web.json_response({"kind": "TokenReview", "status": found}, status=201)
        finally:
            self.at_once -= 1


class Secrets:
    """Keeps Secrets as an API server does: versions, conflicts, creates that fail where there is one."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.version = 100
        self.requests: list[str] = []
        self.before: Callable[[str], Awaitable[None]] | None = None  # runs before each answer
        self.broken: web.Response | None = None

    async def __call__(self, request: web.Request, body: Any) -> web.StreamResponse:
        self.requests.append(request.method)
        if self.before is not None:
            await self.before(request.method)
        if self.broken is not None:
            return self.broken
        _, _, path = request.path.partition("/namespaces/")
        namespace, _, name = path.split("/") if path.count("/") == 2 else (*path.split("/"), "")
        if request.method == "POST":
            return self._create(f"{namespace}/{body['metadata']['name']}", body)
        found = self.objects.get(f"{namespace}/{name}")
        if found is None:
            return web.json_response({"kind": "Status", "code": 404}, status=404)
        if request.method == "PATCH":
            assert request.headers["Content-Type"] == "application/merge-patch+json"
            return self._patch(found, body)
        assert request.method == "GET"
        return web.json_response(found)

    def _create(self, key: str, body: dict[str, Any]) -> web.Response:
        if key in self.objects:
            return web.json_response({"kind": "Status", "code": 409, "reason": "AlreadyExists"}, status=409)
        self.objects[key] = body
        return self._stored(body, 201)

    def _patch(self, found: dict[str, Any], patch: dict[str, Any]) -> web.Response:
        wanted = patch["metadata"].pop("resourceVersion")
        if wanted != found["metadata"]["resourceVersion"]:
            return web.json_response({"kind": "Status", "code": 409, "reason": "Conflict"}, status=409)
        found["metadata"] |= patch.pop("metadata")
        found["data"] |= patch.pop("data")
        assert not patch
        return self._stored(found, 200)

    def _stored(self, secret: dict[str, Any], status: int) -> web.Response:
        for value in secret["data"].values():
            b64decode(value, validate=True)
        self.version += 1
        secret["metadata"]["resourceVersion"] = str(self.version)
        return web.json_response(secret, status=status)

    def touch(self, key: str) -> None:
        """Somebody puts a label on it."""
        self.objects[key]["metadata"]["labels"] = {"seen": "yes"}
        self._stored(self.objects[key], 200)
