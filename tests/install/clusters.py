"""A model of a cluster over real HTTP: keeps objects, applies them as server-side apply does, and makes Pods of Deployments.

As much of an API server as an installation meets: Namespaces that have to exist, fields with owners, conflicts, dry
runs, label selectors, pages, finalizers, CRDs that bring paths and take their objects with them, uid preconditions.
`before` runs ahead of every answer and may give another one.
"""

import copy
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from controlplane.install.api import Api, KubernetesApi
from controlplane.install.objects import KINDS, Kind
from controlplane.install.planning import is_ours
from tests.security.apiservers import api_server

Object = dict[str, Any]
CORE = (
    *KINDS,
    Kind("v1", "Secret", "secrets"),
    Kind("v1", "Pod", "pods"),
    Kind("v1", "Event", "events"),
)
OWNED = frozenset({"apiVersion", "kind"})


class Cluster:
    """See above."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}  # by path
        self.applied: dict[str, dict[str, Object]] = {}  # path -> manager -> what it applied
        self.version = {"major": "1", "minor": "36", "gitVersion": "v1.36.3"}
        self.requests: list[tuple[str, str]] = []
        self.writes: list[tuple[str, str]] = []
        self.before: Callable[[str, str], web.Response | None] = lambda _method, _path: None
        self.pod: Callable[[str], Object] = ready_pod  # what becomes of a Pod of a Deployment
        self.logs: dict[str, str] = {}
        self.tokens: dict[str, str] = {}  # -> whose
        self.takes_up = True  # webhooks, in place of a control plane
        self.counter = 0

    # HTTP

    async def __call__(self, request: web.Request, body: Any) -> web.StreamResponse:
        path, query = request.path, dict(request.query)
        self.requests.append((request.method, path))
        if (answer := self.before(request.method, path)) is not None:
            return answer
        if path == "/version":
            return web.json_response(self.version)
        if (found := self._discovery(path)) is not None:
            return web.json_response(found)
        if path.endswith("/log"):
            return web.Response(text=self.logs.get(path.split("/")[-2], ""), content_type="text/plain")
        if request.method == "GET":
            return self._get(path, query, metadata="PartialObjectMetadata" in request.headers["Accept"])
        if "dryRun" not in query:
            self.writes.append((request.method, path))
        if request.method == "PATCH" and path.endswith("/scale"):
            self.objects[path.removesuffix("/scale")]["spec"]["replicas"] = body["spec"]["replicas"]
            self.settle()
            return web.json_response({})
        if request.headers.get("Content-Type") == "application/json-patch+json":
            return self._patch(path, body)
        if request.method == "POST":
            return self._create(path, body)
        if request.headers.get("Content-Type") == "application/merge-patch+json":
            return self._merge(path, body)
        if request.method == "PATCH":
            assert request.headers["Content-Type"] == "application/apply-patch+yaml"
            return self._apply(path, query, body)
        assert request.method == "DELETE"
        return self._delete(path, body or {})

    def _get(self, path: str, query: dict[str, str], *, metadata: bool) -> web.Response:
        if path in self.objects:
            return web.json_response(self.objects[path])
        kind = self.kind_at(path)
        if kind is None or not path.endswith(f"/{kind.plural}"):
            return status(404, "NotFound", f"{path} is not there")
        found = [obj for place, obj in sorted(self.objects.items()) if self._is_below(place, path, kind)]
        found = [obj for obj in found if _selected(obj, query.get("labelSelector", ""))]
        if (field := query.get("fieldSelector", "")).startswith("metadata.name="):
            found = [obj for obj in found if obj["metadata"]["name"] == field.partition("=")[2]]
        start, limit = int(query.get("continue", 0)), int(query.get("limit", 10_000))
        page, rest = found[start : start + limit], len(found) > start + limit
        items = [{"metadata": obj["metadata"]} for obj in page] if metadata else page
        return web.json_response({"metadata": {"continue": str(start + limit) if rest else ""}, "items": items})

    def _is_below(self, place: str, path: str, kind: Kind) -> bool:
        return place.startswith(f"{path.removesuffix(kind.plural)}") and place.split("/")[-2] == kind.plural

    def _apply(self, path: str, query: dict[str, str], body: Object) -> web.Response:
        assert query["fieldValidation"] == "Strict"
        kind = self.kind_at(path)
        if kind is None:
            return status(404, "NotFound", "the server could not find the requested resource")
        namespace = body["metadata"].get("namespace", "")
        if namespace and f"/api/v1/namespaces/{namespace}" not in self.objects:
            return status(404, "NotFound", f'namespaces "{namespace}" not found')
        manager = query["fieldManager"]
        live, owners = self.objects.get(path), self.applied.get(path, {})
        if live is not None and "force" not in query and (causes := list(_conflicts(live, body, owners, manager))):
            return status(409, "Conflict", f"Apply failed with {len(causes)} conflicts", causes)
        before = _keyed(copy.deepcopy(live)) if live else {}
        merged = _listed(_applied(before, _keyed(owners.get(manager, {})), _keyed(body)))
        self._stamp(merged, live)
        if query.get("dryRun") == "All":
            return web.json_response(merged)
        self.objects[path] = merged
        self.applied.setdefault(path, {})[manager] = copy.deepcopy(body)
        self.settle()
        return web.json_response(self.objects[path], status=200 if live else 201)

    def _patch(self, path: str, operations: list[Object]) -> web.Response:
        webhooks = copy.deepcopy(self.objects[path]["webhooks"])
        for one in operations:
            _, _, where, *field = one["path"].split("/")
            if one["op"] == "test":
                if webhooks[int(where)][field[0]] != one["value"]:
                    return status(422, "Invalid", "the test failed")
            elif one["op"] == "remove":
                del webhooks[int(where)]
            elif one["op"] == "replace":
                webhooks[int(where)][field[0]] = one["value"]
            else:
                assert (one["op"], where) == ("add", "-")
                webhooks.append(one["value"])
        self.objects[path]["webhooks"] = webhooks
        return web.json_response(self.objects[path])

    def _create(self, path: str, body: Object) -> web.Response:
        if path.endswith("/tokenreviews"):
            user = self.tokens.get(body["spec"]["token"])
            found = {"authenticated": True, "user": {"username": user}, "audiences": body["spec"]["audiences"]}
            return web.json_response({"status": found if user else {"authenticated": False}}, status=201)
        namespace = path.split("/namespaces/")[1].split("/", maxsplit=1)[0]
        if f"/api/v1/namespaces/{namespace}" not in self.objects:
            return status(404, "NotFound", f'namespaces "{namespace}" not found')
        if f"{path}/{body['metadata']['name']}" in self.objects:
            return status(409, "AlreadyExists", "it is there")
        body["metadata"]["namespace"] = namespace
        return web.json_response(self.objects[self.put(body)], status=201)

    def _merge(self, path: str, patch: Object) -> web.Response:
        live = self.objects.get(path)
        if live is None:
            return status(404, "NotFound", "gone")
        live["metadata"] |= patch.pop("metadata", {})
        for key, value in patch.items():
            live[key] = live.get(key, {}) | value if isinstance(value, dict) else value
        self.counter += 1
        live["metadata"]["resourceVersion"] = str(self.counter)
        return web.json_response(live)

    def _stamp(self, obj: Object, live: Object | None) -> None:
        meta = obj["metadata"]
        before = live["metadata"] if live else {}
        self.counter += 1
        meta["uid"] = before.get("uid") or f"uid-{self.counter}"
        changed = live is None or {k: v for k, v in obj.items() if k != "metadata"} != {
            k: v for k, v in live.items() if k != "metadata"
        }
        meta["generation"] = before.get("generation", 0) + changed
        meta["resourceVersion"] = str(self.counter)
        meta["managedFields"] = [{"manager": "some"}]

    def _delete(self, path: str, body: Object) -> web.Response:
        obj = self.objects.get(path)
        if obj is None:
            return status(404, "NotFound", "gone")
        wanted = (body.get("preconditions") or {}).get("uid")
        if wanted is not None and wanted != obj["metadata"]["uid"]:
            return status(409, "Conflict", "uid mismatch")
        if obj["metadata"].get("finalizers"):
            obj["metadata"]["deletionTimestamp"] = "now"
            return web.json_response(obj)
        self.drop(path)
        return web.json_response(obj)

    def drop(self, path: str) -> None:
        """And what goes with it."""
        obj = self.objects.pop(path)
        self.applied.pop(path, None)
        below: list[str] = []
        if obj["kind"] == "Namespace":
            below = [place for place in self.objects if f"/namespaces/{obj['metadata']['name']}/" in place]
        if obj["kind"] == "CustomResourceDefinition":
            plural = obj["spec"]["names"]["plural"]
            below = [
                place for place in self.objects if f"/apis/{obj['spec']['group']}/" in place and f"/{plural}/" in place
            ]
        for place in below:
            self.objects.pop(place, None)
        self.settle()

    # Kinds

    def kinds(self) -> Iterator[Kind]:
        yield from CORE
        for obj in list(self.objects.values()):
            if obj.get("kind") == "CustomResourceDefinition" and "versions" in obj.get("spec", {}):
                names = obj["spec"]["names"]
                for version in obj["spec"]["versions"]:
                    yield Kind(f"{obj['spec']['group']}/{version['name']}", names["kind"], names["plural"])

    def kind_at(self, path: str) -> Kind | None:
        for kind in self.kinds():
            root = kind.path().removesuffix(f"/{kind.plural}")
            parts = path.removeprefix(root + "/").split("/") if path.startswith(root + "/") else []
            if len(parts) > 2 and parts[0] == "namespaces":
                parts = parts[2:]
            if parts and parts[0] == kind.plural and len(parts) <= 2:
                return kind
        return None

    def _discovery(self, path: str) -> Object | None:
        kinds = list(self.kinds())
        if path == "/apis":
            groups: dict[str, str] = {}
            for kind in kinds:
                if kind.group:
                    groups.setdefault(kind.group, kind.api_version)
            return {
                "groups": [{"name": name, "preferredVersion": {"groupVersion": one}} for name, one in groups.items()]
            }
        version = path.removeprefix("/apis/").removeprefix("/api/")
        of = [kind for kind in kinds if kind.api_version == version]
        if not of:
            return None
        return {
            "resources": [
                {"name": kind.plural, "kind": kind.kind, "namespaced": kind.namespaced, "verbs": ["get", "list"]}
                for kind in of
            ]
        }

    # What people and controllers do

    def put(self, obj: Object) -> str:
        """Somebody makes an object."""
        meta = obj["metadata"]
        kind = next(k for k in self.kinds() if (k.api_version, k.kind) == (obj["apiVersion"], obj["kind"]))
        path = kind.path(meta.get("namespace", ""), meta["name"])
        self.counter += 1
        meta.setdefault("uid", f"uid-{self.counter}")
        meta.setdefault("generation", 1)
        meta["resourceVersion"] = str(self.counter)
        self.objects[path] = obj
        self.settle()
        return path

    def settle(self) -> None:
        """What controllers make of it: CRDs that are served, Pods of Deployments, and their status."""
        for obj in list(self.objects.values()):
            if obj.get("kind") == "CustomResourceDefinition":
                obj["status"] = {"conditions": [{"type": "Established", "status": "True"}]}
        for obj in (*self.of("MutatingWebhookConfiguration"), *self.of("ValidatingWebhookConfiguration")):
            if self.takes_up and is_ours(obj) and self.of("Deployment"):
                for webhook in obj["webhooks"]:
                    webhook["clientConfig"]["caBundle"] = "cm9vdHM="  # the control plane's doing
        wanted: dict[str, Object] = {}
        for obj in self.of("Deployment"):
            meta, spec = obj["metadata"], obj["spec"]
            spec.setdefault("replicas", 1)
            pods = [self.pod(f"{meta['name']}-{i}") for i in range(spec["replicas"])]
            for pod in pods:
                pod["metadata"] |= {"namespace": meta["namespace"], "labels": spec["template"]["metadata"]["labels"]}
                pod["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet"}]
                wanted[f"/api/v1/namespaces/{meta['namespace']}/pods/{pod['metadata']['name']}"] = pod
            ready = sum(pod["status"].get("phase") == "Running" for pod in pods)
            obj["status"] = {
                "observedGeneration": meta["generation"],
                "replicas": len(pods),
                "updatedReplicas": len(pods),
                "availableReplicas": ready,
            }
        for path in [
            path
            for path, obj in self.objects.items()
            if obj.get("kind") == "Pod" and "ownerReferences" in obj["metadata"]
        ]:
            del self.objects[path]
        self.objects |= wanted

    def of(self, kind: str) -> list[Object]:
        return [obj for obj in self.objects.values() if obj.get("kind") == kind]

    def names(self) -> set[str]:
        """Everything there is, but Pods."""
        return {f"{obj['kind']} {obj['metadata']['name']}" for obj in self.objects.values() if obj.get("kind") != "Pod"}


@asynccontextmanager
async def api_of(cluster: Cluster) -> AsyncIterator[Api]:
    async with api_server(cluster) as client:
        yield Api(KubernetesApi(client))


def ready_pod(name: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }


def status(code: int, reason: str, message: str, causes: list[tuple[str, str]] | None = None) -> web.Response:
    details = {"causes": [{"field": field, "message": words} for field, words in causes or []]}
    return web.json_response(
        {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}, status=code
    )


def _selected(obj: Object, selector: str) -> bool:
    labels = obj["metadata"].get("labels") or {}
    pairs = [one.split("=") for one in selector.split(",") if one]
    return all(labels.get(key) == value[0] if value else key in labels for key, *value in pairs)


def _keyed(obj: Object) -> Object:
    """Webhooks have names, by which an API server knows them."""
    return obj | {"webhooks": {one["name"]: one for one in obj["webhooks"]}} if "webhooks" in obj else obj


def _listed(obj: Object) -> Object:
    return obj | {"webhooks": list(obj["webhooks"].values())} if "webhooks" in obj else obj


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Lists are taken whole: rougher than an API server, which knows their keys."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    else:
        yield path, value


def _at(obj: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        obj = obj.get(key) if isinstance(obj, dict) else None
    return obj


def _conflicts(live: Object, body: Object, owners: dict[str, Object], manager: str) -> Iterator[tuple[str, str]]:
    mine = dict(_leaves(owners.get(manager, {})))
    for other, document in owners.items():
        if other == manager:
            continue
        for path, _ in _leaves(document):
            wanted = dict(_leaves(body)).get(path)
            if wanted is not None and path not in mine and _at(live, path) != wanted and path[0] not in OWNED:
                yield "." + ".".join(path), f'conflict with "{other}"'


def _applied(live: Object, before: Object, wanted: Object) -> Object:
    """What the manager no longer says goes, what it says is so, the rest stays."""
    now = dict(_leaves(wanted))
    for path, _ in _leaves(before) if before else ():
        if path not in now:
            parent = _at(live, path[:-1])
            if isinstance(parent, dict):
                parent.pop(path[-1], None)
    for path, value in now.items():
        place = live
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = copy.deepcopy(value)
    return live
