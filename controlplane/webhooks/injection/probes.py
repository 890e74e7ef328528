"""The application's probes, asked by the agent in the kubelet's place.

The kubelet has no certificate of the mesh: where one is demanded, or where traffic is captured at all, its questions
would fail or reach Envoy. So each probe is turned into a question to the agent's status port, and the agent is told
what was asked before (`controlplane.agent.probers`). Commands run in the container, and stay.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from controlplane.model.validate.findings import Findings
from controlplane.webhooks.injection.pod import PROXY, Container, Probe, Spec

_PROBES: Final = (
    ("liveness_probe", "livenessProbe", "livez"),
    ("readiness_probe", "readinessProbe", "readyz"),
    ("startup_probe", "startupProbe", "startupz"),
)
_HOOKS: Final = (("pre_stop", "preStop", "prestopz"), ("post_start", "postStart", "poststartz"))
_HEALTH: Final = "/app-health/"
_LIFECYCLE: Final = "/app-lifecycle/"
_GRACE: Final = 30  # seconds; Kubernetes' terminationGracePeriodSeconds

Probers = dict[str, dict[str, Any]]  # ISTIO_KUBE_APP_PROBERS, by path


class _Place(NamedTuple):
    """One probe of a container: where it is in the manifest, and the path it will be asked for at."""

    keys: tuple[str, ...]
    probe: Probe
    path: str
    seconds: int | None


def rewrite(found: Findings, spec: Spec, manifest: dict[str, Any], status_port: int) -> Probers:
    """Changes the manifest of a Pod's spec; what the agent has to know."""
    probers: Probers = {}
    for field, containers in (("initContainers", spec.init_containers or ()), ("containers", spec.containers)):
        for index, container in enumerate(containers):
            if container.name == PROXY:
                continue
            for place in _places(container, spec):
                where = f"spec.{field}[{index}].{'.'.join(place.keys)}"
                if (prober := _prober(found, where, container, place)) is not None:
                    probers[place.path] = prober
                    _ask_agent(_below(manifest[field][index], place.keys), place.path, status_port)
    return probers


def _places(container: Container, spec: Spec) -> Iterator[_Place]:
    for attribute, key, name in _PROBES:
        probe = getattr(container, attribute)
        if probe is not None:
            yield _Place((key,), probe, f"{_HEALTH}{container.name}/{name}", probe.timeout_seconds)
    grace = spec.termination_grace_period_seconds
    for attribute, key, name in _HOOKS:
        hook = getattr(container.lifecycle, attribute, None)
        if hook is not None and hook.http_get is not None:  # a hook has no timeout of its own, and no tcpSocket works
            seconds = _GRACE if grace is None else max(1, grace)
            yield _Place(("lifecycle", key), hook, f"{_LIFECYCLE}{container.name}/{name}", seconds)


def _prober(found: Findings, where: str, container: Container, place: _Place) -> dict[str, Any] | None:
    """What the agent is to ask; None: the probe stays as it is."""
    action = _action(found, where, container, place.probe)
    if action is None or place.seconds is None:
        return action
    return {**action, "timeoutSeconds": place.seconds}


def _action(found: Findings, where: str, container: Container, probe: Probe) -> dict[str, Any] | None:
    asked = probe.http_get or probe.tcp_socket
    if asked is not None and asked.host:
        message = f"asks {asked.host}, not this Pod: it is left as it is, and the kubelet asks past the proxy"
        found.warn("ProbeNotRewritten", where, message)
        return None
    if probe.grpc is not None:
        service = {"service": probe.grpc.service} if probe.grpc.service else {}
        return {"grpc": {"port": probe.grpc.port, **service}}
    if asked is None:
        return None
    port = container.port(asked.port)
    if port is None:
        found.warn("ProbeNotRewritten", where, f"names port {asked.port!r}, which its container does not have")
        return None
    if probe.http_get is None:
        return {"tcpSocket": {"port": port}}
    return {"httpGet": {"port": port, "path": probe.http_get.path or "/", "scheme": probe.http_get.scheme or "HTTP"}}


def _ask_agent(probe: dict[str, Any], path: str, status_port: int) -> None:
    """In place. Headers stay: the agent hands them on."""
    headers = (probe.get("httpGet") or {}).get("httpHeaders")
    for action in ("httpGet", "tcpSocket", "grpc"):
        probe.pop(action, None)
    probe["httpGet"] = {"path": path, "port": status_port, "scheme": "HTTP"}
    if headers:
        probe["httpGet"]["httpHeaders"] = headers


def _below(manifest: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    for key in keys:
        manifest = manifest[key]
    return manifest
