"""What one Pod gets: the settings of all, under what its own annotations say."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from controlplane.model.problem import ObjectRef
from controlplane.model.validate.findings import Findings
from controlplane.webhooks.injection import annotations as names
from controlplane.webhooks.injection import proxyconfig
from controlplane.webhooks.injection.annotations import Said
from controlplane.webhooks.injection.pod import Pod
from controlplane.webhooks.injection.proxyconfig import ProxyConfig
from controlplane.webhooks.injection.settings import STATUS_PORT, Amounts, InjectionSettings, Resources

SIDECAR: Final = "sidecar"
GATEWAY: Final = "gateway"
_TEMPLATES: Final = (SIDECAR, GATEWAY)
NOBODY: Final = ObjectRef("", "InjectionSettings", "", "settings")  # whose faults are told where they are read


class Capture(msgspec.Struct, frozen=True, kw_only=True):
    """Which traffic goes through the proxy: lists as text, `*` for all, "" for none."""

    include_ranges: str
    exclude_ranges: str
    include_inbound: str
    exclude_inbound: str
    include_outbound: str
    exclude_outbound: str
    exclude_interfaces: str
    virtual_interfaces: str  # what comes in there is traffic of a virtual machine inside the Pod


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that differs from Pod to Pod and is not in the Pod's containers."""

    template: str
    native: bool
    hold: bool
    rewrite_probes: bool
    merge_metrics: bool
    image: str
    resources: Resources
    log_level: str
    component_log_level: str
    status_port: int  # 0: nobody asks there
    initial_delay: int
    period: int
    failure_threshold: int
    capture: Capture | None
    config: ProxyConfig
    network: str
    volumes: tuple[Mapping[str, Any], ...]
    volume_mounts: tuple[Mapping[str, Any], ...]

    @property
    def is_gateway(self) -> bool:
        return self.template == GATEWAY

    @property
    def agent_port(self) -> int:
        """Where the agent answers, whether anybody asks or not."""
        return self.status_port or STATUS_PORT


def options_of(found: Findings, settings: InjectionSettings, pod: Pod) -> Options:
    """What is wrong is in `found`: with errors there, nothing may be made of this."""
    said = names.read_annotations(found, pod.annotations)
    names.check_labels(found, pod.labels)
    config = _config(found, settings, said)
    template = _template(found, said)
    return Options(
        template=template,
        native=template == SIDECAR and _native(found, settings, said),
        hold=settings.hold_application_until_proxy_starts if config.hold is None else config.hold,
        rewrite_probes=said.get(names.REWRITE, settings.rewrite_app_http_probe),
        merge_metrics=settings.enable_prometheus_merge and said.get(names.MERGE_METRICS, True),
        image=said.get(names.IMAGE, settings.image),
        resources=_resources(settings, said),
        log_level=said.get(names.LOG_LEVEL, settings.log_level),
        component_log_level=said.get(names.COMPONENT_LOG_LEVEL, settings.component_log_level),
        status_port=said.get(names.STATUS_PORT, STATUS_PORT if config.status_port is None else config.status_port),
        initial_delay=said.get(names.INITIAL_DELAY, settings.readiness_initial_delay_seconds),
        period=said.get(names.PERIOD, settings.readiness_period_seconds),
        failure_threshold=said.get(names.FAILURE_THRESHOLD, settings.readiness_failure_threshold),
        capture=_capture(settings, said) if template == SIDECAR and _mode(found, said, config) else None,
        config=config,
        network=pod.labels.get(names.NETWORK_LABEL, settings.network),
        volumes=said.get(names.USER_VOLUME, ()),
        volume_mounts=said.get(names.USER_VOLUME_MOUNT, ()),
    )


def _config(found: Findings, settings: InjectionSettings, said: Said) -> ProxyConfig:
    mesh_wide = proxyconfig.read(Findings(NOBODY), "", settings.default_config)
    if names.CONFIG not in said:
        return mesh_wide
    return proxyconfig.of_annotation(found, names.path_of(names.CONFIG), said[names.CONFIG]).over(mesh_wide)


def _template(found: Findings, said: Said) -> str:
    wanted = said.get(names.TEMPLATES, (SIDECAR,))
    if len(wanted) == 1 and wanted[0] in _TEMPLATES:
        return str(wanted[0])
    message = f"{names.TEMPLATES} {','.join(wanted)!r}: there are {' and '.join(_TEMPLATES)}, one at a time"
    found.error("InvalidAnnotation", names.path_of(names.TEMPLATES), message)
    return SIDECAR


def _native(found: Findings, settings: InjectionSettings, said: Said) -> bool:
    wanted = bool(said.get(names.NATIVE, settings.native_sidecars))
    if wanted and not settings.native_sidecars:
        message = f"{names.NATIVE} has no effect: this cluster has no native sidecars (Kubernetes 1.29 has)"
        found.warn("AnnotationWithoutEffect", names.path_of(names.NATIVE), message)
    return wanted and settings.native_sidecars


def _mode(found: Findings, said: Said, config: ProxyConfig) -> bool:
    """Whether traffic is captured."""
    mode = said.get(names.INTERCEPTION, config.mode or "REDIRECT")
    if mode == "TPROXY":
        name = names.INTERCEPTION if names.INTERCEPTION in said else names.CONFIG
        message = f"{name}: TPROXY is not supported yet, REDIRECT is used: applications do not see their callers' IPs"
        found.warn("AnnotationWithoutEffect", names.path_of(name), message)
    return bool(mode != "NONE")


def _resources(settings: InjectionSettings, said: Said) -> Resources:
    """As with Istio's, who says one of the four says them all."""
    if not said.keys() & {names.CPU, names.MEMORY, names.CPU_LIMIT, names.MEMORY_LIMIT}:
        return settings.resources
    return Resources(
        requests=Amounts(cpu=said.get(names.CPU), memory=said.get(names.MEMORY)),
        limits=Amounts(cpu=said.get(names.CPU_LIMIT), memory=said.get(names.MEMORY_LIMIT)),
    )


def _capture(settings: InjectionSettings, said: Said) -> Capture:
    return Capture(
        include_ranges=said.get(names.INCLUDE_OUTBOUND_RANGES, settings.include_ip_ranges),
        exclude_ranges=said.get(names.EXCLUDE_OUTBOUND_RANGES, settings.exclude_ip_ranges),
        include_inbound=said.get(names.INCLUDE_INBOUND_PORTS, settings.include_inbound_ports),
        exclude_inbound=said.get(names.EXCLUDE_INBOUND_PORTS, settings.exclude_inbound_ports),
        include_outbound=said.get(names.INCLUDE_OUTBOUND_PORTS, settings.include_outbound_ports),
        exclude_outbound=said.get(names.EXCLUDE_OUTBOUND_PORTS, settings.exclude_outbound_ports),
        exclude_interfaces=said.get(names.EXCLUDE_INTERFACES, ""),
        virtual_interfaces=said.get(names.REROUTE_INTERFACES, said.get(names.KUBEVIRT_INTERFACES, "")),
    )
