"""A model of an API server over real HTTP that runs commands in Pods: lists, objects, and `pods/exec` over WebSocket."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

Object = dict[str, Any]
Replica = Callable[[str], tuple[int, Any]]  # target -> status and answer


class Pods:
    """`replicas`: what `lateen debug` says in each Pod of the control plane."""

    def __init__(self) -> None:
        self.replicas: dict[str, Replica] = {}
        self.phases: dict[str, str] = {}
        self.ending: set[str] = set()  # Pods
        self.starting: set[str] = set()
        self.broken: dict[str, str] = {}  # Pod -> what its command prints to standard error as it fails
        self.forbidden: set[str] = set()  # ends of paths
        self.objects: dict[str, list[Object]] = {}  # path of a collection -> items
        self.paths: list[str] = []  # of commands, as they were sent
        self.commands: list[tuple[str, str, list[str]]] = []  # Pod, container, command
        self.envoys: dict[str, Replica] = {}
        self.logs: dict[str, str] = {}

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if any(path.endswith(end) for end in self.forbidden):
            return _status(403, "Forbidden", f"{path} is forbidden")
        if path.endswith("/exec"):
            return await self._exec(request)
        if path.endswith("/log"):
            return web.Response(text=self.logs.get(path.split("/")[-2], ""), content_type="text/plain")
        if path.endswith("/pods") and request.query.get("labelSelector") == "app=lateend":
            return web.json_response({"metadata": {}, "items": list(map(self._pod, sorted(self.replicas)))})
        if path in self.objects:
            return web.json_response({"metadata": {}, "items": self.objects[path]})
        collection, _, name = path.rpartition("/")
        for one in self.objects.get(collection.replace("/namespaces/shop", ""), []):
            if one["metadata"]["name"] == name:
                return web.json_response(one)
        return _status(404, "NotFound", f"{path} is not there")

    def _pod(self, name: str) -> Object:
        meta = {"name": name, "namespace": "lateen-system"}
        if name in self.ending:
            meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        status = {
            "phase": self.phases.get(name, "Running"),
            "containerStatuses": [{"started": name not in self.starting}],
        }
        return {"metadata": meta, "status": status}

    async def _exec(self, request: web.BaseRequest) -> web.StreamResponse:
        pod, command = request.path.split("/")[-2], request.query.getall("command")
        self.paths.append(request.rel_url.raw_path)
        self.commands.append((pod, request.query["container"], command))
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await socket.prepare(request)
        if pod in self.broken:
            await socket.send_bytes(b"\x02" + self.broken[pod].encode())
            causes = [{"reason": "ExitCode", "message": "2"}]
            await socket.send_bytes(b"\x03" + json.dumps({"status": "Failure", "details": {"causes": causes}}).encode())
        else:
            says = self.envoys[pod] if "--envoy" in command else self.replicas[pod]
            status, answer = says(command[-1])
            printed = json.dumps({"status": status, "answer": answer}).encode()
            for start in range(0, len(printed), 1000):  # as it comes, in pieces
                await socket.send_bytes(b"\x01" + printed[start : start + 1000])
            await socket.send_bytes(b'\x03{"status":"Success"}')
        await socket.close()
        return socket


def _status(code: int, reason: str, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "reason": reason, "message": message}, status=code)


@asynccontextmanager
async def serving(pods: Pods, folder: Path) -> AsyncIterator[Path]:
    """A kubeconfig that leads there."""
    runner = web.ServerRunner(web.Server(pods.__call__))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    config = folder / "kubeconfig"
    config.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "model",
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}}],
                "users": [{"name": "u", "user": {"token": "secret-token-of-a-user"}}],
                "contexts": [{"name": "model", "context": {"cluster": "c", "user": "u"}}],
            }
        )
    )
    try:
        yield config
    finally:
        await runner.cleanup()
