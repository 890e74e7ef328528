"""An API server as far as status, the Lease and Events go: versions, generations, conflicts."""

from typing import Any

import yaml
from aiohttp import web

from controlplane.model.decode import decode
from controlplane.model.kinds import BY_NAME, MESH_KINDS
from controlplane.model.meta import ref_of
from controlplane.model.problem import ObjectRef

_PLURALS = {kind.plural: kind for kind in (*MESH_KINDS, BY_NAME["networking.k8s.io", "Ingress"])}


class Objects:
    """Answers `tests.security.apiservers.api_server`."""

    def __init__(self, manifests: str = "") -> None:
        self.objects: dict[ObjectRef, dict[str, Any]] = {}
        self.events: dict[str, dict[str, Any]] = {}
        self.lease: dict[str, Any] = {"metadata": {"resourceVersion": "1"}}
        self.patches: list[tuple[ObjectRef, dict[str, Any]]] = []
        self.reads = 0
        self.broken: web.Response | None = None  # what patches of status are answered with
        self.between: list[Any] = []  # called once before a patch of status is looked at
        self._version = 1
        for document in yaml.safe_load_all(manifests):
            self.put(document)

    def put(self, document: dict[str, Any]) -> dict[ObjectRef, Any]:
        """Applied; what a source says of it."""
        value: Any = decode(document).value
        ref = ref_of(value)
        before = self.objects.get(ref, {"metadata": {"generation": 0}})
        changed = before.get("spec") != document["spec"]
        generation = before["metadata"]["generation"] + changed
        meta = {**document["metadata"], "namespace": ref.namespace, "uid": f"uid-{ref.name}", "generation": generation}
        self.objects[ref] = {**document, "metadata": meta} | (
            {"status": before["status"]} if "status" in before else {}
        )
        self._written(self.objects[ref])
        return {ref: value}

    def everything(self) -> dict[ObjectRef, Any]:
        return {ref: decode(document).value for ref, document in self.objects.items()}

    def conditions(self, ref: ObjectRef) -> dict[str, Any]:
        return {each["type"]: each for each in self.objects[ref].get("status", {}).get("conditions", ())}

    def _written(self, document: dict[str, Any]) -> dict[str, Any]:
        self._version += 1
        document["metadata"]["resourceVersion"] = str(self._version)
        return document

    async def __call__(self, request: web.Request, body: Any) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        if "leases" in parts:
            return self._lease(body)
        if "events" in parts:
            return self._event(parts, body)
        _, group, version, _, namespace, plural, name, *_ = parts
        kind = _PLURALS[plural]
        assert (group, version) == (kind.group, "v1")
        ref = ObjectRef(group, kind.kind, namespace, name)
        if request.method == "GET":
            self.reads += 1
            found = self.objects.get(ref)
            return _refused(404) if found is None else web.json_response(found)
        assert parts[-1] == "status"
        assert request.headers["Content-Type"] == "application/merge-patch+json"
        while self.between:
            self.between.pop()()
        return self.broken or self._status(ref, body)

    def _status(self, ref: ObjectRef, patch: dict[str, Any]) -> web.Response:
        found = self.objects.get(ref)
        if found is None:
            return _refused(404)
        assert set(patch) == {"metadata", "status"}
        if patch["metadata"] != {"resourceVersion": found["metadata"]["resourceVersion"]}:
            return _refused(409)
        found["status"] = found.get("status", {}) | patch["status"]
        self.patches.append((ref, patch["status"]))
        return web.json_response(self._written(found))

    def _lease(self, patch: Any) -> web.Response:
        if patch is not None:
            if patch["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
                return _refused(409)
            self.lease["spec"] = self.lease.get("spec", {}) | patch["spec"]
            self._written(self.lease)
        return web.json_response(self.lease)

    def _event(self, parts: list[str], body: dict[str, Any]) -> web.Response:
        if parts[-1] != "events":
            if parts[-1] not in self.events:
                return _refused(404)
            self.events[parts[-1]] |= body
            return web.json_response(self.events[parts[-1]])
        name = body["metadata"]["name"]
        if name in self.events:
            return _refused(409)
        self.events[name] = body
        return web.json_response(body, status=201)


def _refused(status: int) -> web.Response:
    return web.json_response({"kind": "Status", "code": status}, status=status)
