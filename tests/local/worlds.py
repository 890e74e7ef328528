"""Manifests to plan for, in few words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controlplane.local.lateenfile import LateenFile, parse
from controlplane.local.plan import Inputs, Plan, Replica
from controlplane.local.planner import plan
from controlplane.model.problem import ObjectRef
from controlplane.sources.files.parser import parse as parse_manifests

DIRECTORY = Path("/somewhere")


def manifests(text: str) -> dict[ObjectRef, Mapping[str, Any]]:
    parsed = parse_manifests(text, "x.yaml")
    assert not parsed.broken, parsed.broken
    return {document.ref: document.manifest for document in parsed.documents}


def lateenfile(text: str) -> LateenFile:
    file = parse(text, DIRECTORY / "Lateenfile")
    assert not file.problems
    return file


def inputs(text: str, file: str = "", **more: Any) -> Inputs:
    defaults: dict[str, Any] = {
        "mesh": "m",
        "directory": DIRECTORY,
        "exists": lambda program, _directory: program != "nowhere",
        "python": "/usr/bin/python3",
    }
    return Inputs(manifests=manifests(text), file=lateenfile(file), **(defaults | more))


def planned(text: str, file: str = "", **more: Any) -> Plan:
    return plan(inputs(text, file, **more))


def only(result: Plan) -> Replica:
    (replica,) = result.replicas
    return replica


def deployment(
    name: str = "bill",
    replicas: int = 1,
    container: str = "{name: app, command: [run]}",
    labels: str = "{app: bill}",
    namespace: str = "demo",
    annotations: str = "{}",
) -> str:
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {labels}}}
  template:
    metadata: {{labels: {labels}, annotations: {annotations}}}
    spec:
      containers: [{container}]
---
"""


def service(
    name: str = "bill",
    ports: str = "[{name: http, port: 80}]",
    selector: str = "{app: bill}",
    namespace: str = "demo",
) -> str:
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{selector: {selector}, ports: {ports}}}
---
"""


def gateway(
    name: str = "front",
    selector: str = "{istio: ingressgateway}",
    port: str = "{number: 80, name: http, protocol: HTTP}",
    namespace: str = "demo",
) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{selector: {selector}, servers: [{{port: {port}, hosts: ['*']}}]}}
---
"""


def sidecar(spec: str, name: str = "own", namespace: str = "demo") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: {name}, namespace: {namespace}}}
spec: {spec}
---
"""
