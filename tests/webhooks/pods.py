"""Pods of all shapes, as API servers have them; and Kubernetes' own types, from its client, to hold what we make against."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from kubernetes.client import models

_NAMES = ("cart", "db", "web", "log-shipper")
_INIT_NAMES = ("migrate", "cache")
_PORTS = st.sampled_from([80, 8080, 9090])
_PORT = st.sampled_from([80, 8080, "web", "9090"])
_HTTP = st.fixed_dictionaries(
    {"port": _PORT},
    optional={
        "path": st.sampled_from(["/", "/ready?full=1"]), "scheme": st.sampled_from(["HTTP", "HTTPS"]),
        "httpHeaders": st.just([{"name": "X-Probe", "value": "1"}]), "host": st.just("192.0.2.1"),
    },
)  # fmt: skip
_ACTION = st.one_of(
    st.builds(lambda action: {"httpGet": action}, _HTTP),
    st.builds(lambda port: {"tcpSocket": {"port": port}}, _PORT),
    st.builds(lambda port: {"grpc": {"port": port, "service": "a"}}, _PORTS),
    st.just({"exec": {"command": ["true"]}}),
)
_PROBE = st.builds(lambda action, more: {**action, **more}, _ACTION, st.sampled_from([{}, {"timeoutSeconds": 4}]))
_HOOK = st.one_of(st.builds(lambda action: {"httpGet": action}, _HTTP), st.just({"exec": {"command": ["true"]}}))
_MORE = {
    "livenessProbe": _PROBE,
    "readinessProbe": _PROBE,
    "startupProbe": _PROBE,
    "lifecycle": st.fixed_dictionaries({}, optional={"preStop": _HOOK, "postStart": _HOOK}),
    "env": st.just([{"name": "A", "value": "$(B)"}]),
    "securityContext": st.just({"runAsUser": 7, "seccompProfile": {"type": "Unconfined"}}),
}


def _container(name: str) -> st.SearchStrategy[dict[str, Any]]:
    ports = st.just([{"containerPort": 8081, "name": "web", "protocol": "TCP"}])
    return st.fixed_dictionaries({"name": st.just(name), "image": st.just(f"{name}:1"), "ports": ports}, optional=_MORE)


def _containers(all_names: Sequence[str], least: int) -> st.SearchStrategy[list[dict[str, Any]]]:
    names = st.lists(st.sampled_from(all_names), min_size=least, max_size=2, unique=True)
    return names.flatmap(lambda chosen: st.tuples(*map(_container, chosen)).map(list))


_LABELS = st.dictionaries(
    st.sampled_from(["app", "version", "app.kubernetes.io/name", "service.istio.io/canonical-name", "security.istio.io/tlsMode"]),
    st.sampled_from(["cart", "v1"]),
)  # fmt: skip
_ANNOTATIONS = st.fixed_dictionaries(
    {},
    optional={
        "prometheus.io/scrape": st.sampled_from(["true", "false"]), "prometheus.io/port": st.just("9102"),
        "prometheus.io/path": st.just("/m"), "kubectl.kubernetes.io/default-container": st.just("db"),
        "sidecar.istio.io/nativeSidecar": st.sampled_from(["true", "false"]), "note": st.just("\u2603"),
        "proxy.istio.io/config": st.just("holdApplicationUntilProxyStarts: true"),
        "traffic.sidecar.istio.io/includeInboundPorts": st.sampled_from(["", "*", "80"]),
        "sidecar.istio.io/interceptionMode": st.sampled_from(["NONE", "REDIRECT"]),
        "status.sidecar.istio.io/port": st.sampled_from(["0", "15555"]),
        "inject.istio.io/templates": st.sampled_from(["gateway", "sidecar"]),
    },
)  # fmt: skip
_VOLUMES = st.lists(st.sampled_from(["data", "keys"]), max_size=2, unique=True).map(
    lambda names: [{"name": name, "emptyDir": {}} for name in names]
)
PODS = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {"name": st.just("cart-1")}, optional={"labels": _LABELS | st.none(), "annotations": _ANNOTATIONS | st.none()}
        ),
        "spec": st.fixed_dictionaries(
            {"containers": _containers(_NAMES, 1)},
            optional={
                "volumes": _VOLUMES | st.none(), "initContainers": _containers(_INIT_NAMES, 0) | st.none(),
                "restartPolicy": st.sampled_from(["Always", "Never"]), "terminationGracePeriodSeconds": st.just(0),
                "imagePullSecrets": st.just([{"name": "mine"}]), "nodeSelector": st.just({"disk": "ssd"}),
            },
        ),
    },
    optional={"apiVersion": st.just("v1"), "kind": st.just("Pod"), "status": st.just({})},
)  # fmt: skip


def faults(value: Any, kind: str = "V1Pod", path: str = "") -> list[str]:
    """Where a manifest is not of Kubernetes' types: fields that there are not, and values of other kinds."""
    if value is None or kind == "object":
        return []
    if kind.startswith(("list[", "List[")):
        if not isinstance(value, list):
            return [f"{path} is no list"]
        inner = kind[5:-1]
        return [fault for i, one in enumerate(value) for fault in faults(one, inner, f"{path}[{i}]")]
    if kind.startswith(("dict(", "Dict[")):
        inner = kind[5:-1].partition(", ")[2]
        return [fault for key, one in value.items() for fault in faults(one, inner, f"{path}.{key}")]
    plain: Any = {"str": str, "int": int, "bool": bool, "float": (int, float), "datetime": str}.get(kind)
    if plain is not None:
        return [] if isinstance(value, plain) and not (kind == "int" and value is True) else [f"{path} is no {kind}"]
    model = getattr(models, kind)
    names = {wire: model.openapi_types[name] for name, wire in model.attribute_map.items()}
    unknown = [f"{path}.{key} is no field" for key in value.keys() - names.keys()]
    return [
        *unknown,
        *(f for key, one in value.items() if key in names for f in faults(one, names[key], f"{path}.{key}")),
    ]
