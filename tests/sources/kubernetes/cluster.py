"""A model of what is behind an API server: objects with one history for all, which is forgotten now and then."""

import base64
import copy
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """What the model serves."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def path(self) -> str:
        return f"/apis/{self.group}/{self.version}/{self.plural}" if self.group else f"/api/v1/{self.plural}"

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}".removeprefix("/")


SERVICES = Kind("", "v1", "services", "Service")
PODS = Kind("", "v1", "pods", "Pod")
NAMESPACES = Kind("", "v1", "namespaces", "Namespace", namespaced=False)
NODES = Kind("", "v1", "nodes", "Node", namespaced=False)
SECRETS = Kind("", "v1", "secrets", "Secret")
SLICES = Kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
RULES = Kind("networking.istio.io", "v1", "virtualservices", "VirtualService")
ROUTES = Kind("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute")
CORE = (SERVICES, PODS, NAMESPACES, NODES, SECRETS)

Name = tuple[str, str]  # (namespace, name)


class Change(NamedTuple):
    """One revision."""

    revision: int
    kind: Kind
    type: str
    document: Mapping[str, Any]


class Gone(Exception):  # noqa: N818
    """410: this part of history is forgotten."""


class Cluster:
    """Everything etcd has."""

    def __init__(self) -> None:
        self.revision = 100
        self.compacted = 0
        self.kinds: dict[str, Kind] = {kind.path: kind for kind in (*CORE, SLICES)}
        self.objects: dict[Kind, dict[Name, dict[str, Any]]] = {}
        self.history: list[Change] = []

    # What people do

    def put(self, kind: Kind, name: str, namespace: str = "default", /, **fields: Any) -> dict[str, Any]:
        """Create or replace; `fields` are the object's outermost."""
        there = self.objects.setdefault(kind, {})
        key = (namespace if kind.namespaced else "", name)
        metadata = {"name": name, "uid": f"{name}-{self.revision}", **fields.pop("metadata", {})}
        if kind.namespaced:
            metadata["namespace"] = namespace
        document = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **fields}
        return self._write(kind, "MODIFIED" if key in there else "ADDED", document)

    def delete(self, kind: Kind, name: str, namespace: str = "default", /) -> None:
        document = self.objects[kind].pop((namespace if kind.namespaced else "", name))
        self._record(kind, "DELETED", document)

    def install(self, kind: Kind) -> None:
        """Its CRD."""
        self.kinds[kind.path] = kind

    def uninstall(self, kind: Kind) -> None:
        """Its CRD goes, and with it all objects."""
        for namespace, name in tuple(self.objects.get(kind, {})):
            self.delete(kind, name, namespace)
        del self.kinds[kind.path]

    def compact(self) -> None:
        """All history is forgotten."""
        self.compacted = self.revision
        self.history.clear()

    def snapshot(self) -> "tuple[int, dict[Kind, dict[Name, dict[str, Any]]]]":
        return self.revision, copy.deepcopy(self.objects)

    def restore(self, snapshot: "tuple[int, dict[Kind, dict[Name, dict[str, Any]]]]", bump: int = 0) -> None:
        """From a backup. Without a bump revisions go back, too."""
        self.revision, self.objects = self.revision + bump if bump else snapshot[0], copy.deepcopy(snapshot[1])
        self.compact()

    def _write(self, kind: Kind, change: str, document: dict[str, Any]) -> dict[str, Any]:
        metadata = document["metadata"]
        self._record(kind, change, document)
        self.objects[kind][metadata.get("namespace", ""), metadata["name"]] = document
        return document

    def _record(self, kind: Kind, change: str, document: dict[str, Any]) -> None:
        self.revision += 1
        document["metadata"]["resourceVersion"] = str(self.revision)
        self.history.append(Change(self.revision, kind, change, copy.deepcopy(document)))

    # What an API server reads

    def page(self, kind: Kind, limit: int = 0, token: str = "", namespace: str = "") -> dict[str, Any]:
        """Part of a list, as it was when the list began. Raises Gone."""
        if token:
            revision, offset = json.loads(base64.b64decode(token))
            if revision < self.compacted:
                raise Gone
            objects = self._at(kind, revision)
        else:
            revision, offset = self.revision, 0
            objects = [copy.deepcopy(self.objects.get(kind, {})[key]) for key in sorted(self.objects.get(kind, {}))]
        objects = [one for one in objects if namespace in {"", one["metadata"].get("namespace")}]
        end = offset + limit if limit else len(objects)
        more = base64.b64encode(json.dumps([revision, end]).encode()).decode() if end < len(objects) else ""
        metadata = {"resourceVersion": str(revision)} | ({"continue": more} if more else {})
        items = [listed(kind, document) for document in objects[offset:end]]
        return {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata, "items": items}

    def _at(self, kind: Kind, revision: int) -> list[dict[str, Any]]:
        """Undo what came after."""
        objects: dict[Name, Any] = dict(self.objects.get(kind, {}))
        changed = {
            (change.document["metadata"].get("namespace", ""), change.document["metadata"]["name"])
            for change in self.history
            if change.kind == kind and change.revision > revision
        }
        for key in changed:
            before = [
                change
                for change in self.history
                if change.kind == kind
                and (change.document["metadata"].get("namespace", ""), change.document["metadata"]["name"]) == key
                and change.revision <= revision
            ]
            first = next(
                change
                for change in self.history
                if change.kind == kind
                and (change.document["metadata"].get("namespace", ""), change.document["metadata"]["name"]) == key
                and change.revision > revision
            )
            if before and before[-1].type != "DELETED":
                objects[key] = before[-1].document
            elif not before and first.type != "ADDED":
                raise Gone  # what it was is forgotten
            else:
                objects.pop(key, None)
        return [copy.deepcopy(objects[key]) for key in sorted(objects)]

    def since(self, kind: Kind, version: str, namespace: str = "") -> list[dict[str, Any]]:
        """Events after a version. Raises Gone."""
        if int(version) < self.compacted:
            raise Gone
        return [
            {"type": change.type, "object": copy.deepcopy(dict(change.document))}
            for change in self.history
            if change.kind == kind
            and change.revision > int(version)
            and namespace in {"", change.document["metadata"].get("namespace")}
        ]

    def bookmark(self, kind: Kind) -> dict[str, Any]:
        metadata = {"resourceVersion": str(self.revision)}
        document = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata}
        return {"type": "BOOKMARK", "object": document}

    def discovery(self) -> dict[str, Any]:
        groups: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for kind in self.kinds.values():
            if kind.group:
                groups.setdefault(kind.group, {}).setdefault(kind.version, []).append(resource(kind))
        return {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": "apidiscovery.k8s.io/v2",
            "metadata": {},
            "items": [group(name, versions) for name, versions in groups.items()],
        }


def group(name: str, versions: Mapping[str, Iterable[Mapping[str, Any]]]) -> dict[str, Any]:
    listed = [
        {"version": version, "resources": list(found), "freshness": "Current"} for version, found in versions.items()
    ]
    return {"metadata": {"name": name, "creationTimestamp": None}, "versions": listed}


def resource(kind: Kind) -> dict[str, Any]:
    return {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.kind.lower(),
        "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
    }


def listed(kind: Kind, document: dict[str, Any]) -> dict[str, Any]:
    """Items of built-in kinds do not say what they are."""
    return document if "." in kind.group and not kind.group.endswith("k8s.io") else without_type(document)


def without_type(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in {"apiVersion", "kind"}}


def status(code: int, reason: str, message: str, **details: Any) -> dict[str, Any]:
    """A refusal."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "details": details,
        "code": code,
    }


EXPIRED = status(410, "Expired", "The provided resourceVersion is too old.")
