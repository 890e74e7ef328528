"""The containers injection adds: the one that sets the capture rules, and the proxy.

Both may do as little as they can do with. The first is root in the Pod's network and has two capabilities, for a
moment; the proxy has none, and nothing to write to but its own directory.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from controlplane.webhooks.injection.manifests import (
    Capabilities,
    ContainerOf,
    Env,
    ExecAction,
    FieldRef,
    Handler,
    Hooks,
    HttpGetAction,
    Mount,
    PortOf,
    ProxyProbe,
    ResourcesOf,
    Seccomp,
    Security,
    ValueFrom,
)
from controlplane.webhooks.injection.options import Capture, Options
from controlplane.webhooks.injection.pod import INIT, PROXY, Workload
from controlplane.webhooks.injection.settings import (
    PROMETHEUS_PORT,
    PROXY_ID,
    READINESS_PORT,
    STATUS_PORT,
    Amounts,
    InjectionSettings,
)
from controlplane.webhooks.injection.volumes import DIRECTORY, MOUNTS

_COMMAND: Final = ("lateen", "agent")
_READY: Final = HttpGetAction(path="/healthz/ready", port=READINESS_PORT)
_ANSWER: Final = 3  # seconds an answer may take
_NO_CAPABILITIES: Final = Capabilities(drop=("ALL",))
_DRAIN: Final = frozenset({"EXIT_ON_ZERO_ACTIVE_CONNECTIONS", "MINIMUM_DRAIN_DURATION"})
_LAST_WORDS: Final = "FallbackToLogsOnError"  # `kubectl describe` says why it failed
_SECCOMP: Final = Seccomp(type="RuntimeDefault")


def init(settings: InjectionSettings, options: Options, capture: Capture) -> ContainerOf:
    """Sets the rules, and is gone."""
    return ContainerOf(
        name=INIT,
        image=options.image,
        image_pull_policy=settings.image_pull_policy,
        command=(*_COMMAND, "capture"),
        args=tuple(_capture_arguments(settings, options, capture)),
        resources=_resources(options),
        security_context=Security(
            run_as_user=0,
            run_as_group=0,
            run_as_non_root=False,
            privileged=False,
            allow_privilege_escalation=False,
            read_only_root_filesystem=True,
            capabilities=Capabilities(add=("NET_ADMIN", "NET_RAW"), drop=("ALL",)),
            seccomp_profile=_SECCOMP,
        ),
        termination_message_policy=_LAST_WORDS,
    )


def proxy(settings: InjectionSettings, options: Options, workload: Workload) -> ContainerOf:
    """The agent, which runs Envoy. A native sidecar starts before what is beside it, and ends after."""
    return ContainerOf(
        name=PROXY,
        image=options.image,
        image_pull_policy=settings.image_pull_policy,
        restart_policy="Always" if options.native else None,
        command=_COMMAND,
        args=(
            "router" if options.is_gateway else "sidecar",
            f"--directory={DIRECTORY}",
            f"--domain=$(POD_NAMESPACE).svc.{settings.cluster_domain}",
            f"--server-name={settings.server_name}",
            f"--log-level={options.log_level}",
            f"--component-log-level={options.component_log_level}",
            *_drain(options),
        ),
        ports=(PortOf(container_port=PROMETHEUS_PORT, protocol="TCP", name="http-envoy-prom"),),
        env=tuple({env.name: env for env in _environment(settings, options, workload)}.values()),  # the Pod's own win
        resources=_resources(options),
        startup_probe=_startup(settings, options),
        readiness_probe=_readiness(options),
        lifecycle=_hooks(options),
        security_context=Security(
            run_as_user=PROXY_ID,
            run_as_group=PROXY_ID,
            run_as_non_root=True,
            privileged=False,
            allow_privilege_escalation=False,
            read_only_root_filesystem=True,
            capabilities=_NO_CAPABILITIES,
            seccomp_profile=_SECCOMP,
        ),
        volume_mounts=tuple(Mount(name=name, mount_path=path) for name, path in MOUNTS),
        termination_message_policy=_LAST_WORDS,
    )


def _drain(options: Options) -> tuple[str, ...]:
    """A native sidecar is asked to end when everything beside it has ended: nothing is to come but last bytes.

    So a Job is complete, and a Pod gone, when nobody is connected any more. Who says otherwise is heeded.
    """
    said = options.config.termination_drain is not None or not _DRAIN.isdisjoint(options.config.environment)
    if said or not options.native:
        return ()
    return ("--drain-until-idle=true", "--least-drain=100ms", "--longest-drain=5s")


def _capture_arguments(settings: InjectionSettings, options: Options, capture: Capture) -> Iterator[str]:
    """What is not said is what `lateen agent capture` takes by itself, and is not written here twice."""
    ours = f"{options.agent_port},{READINESS_PORT},{PROMETHEUS_PORT}"
    excluded = f"{ours},{capture.exclude_inbound}" if capture.exclude_inbound else ours
    yield f"--outbound-port={settings.proxy_port}"
    yield f"--inbound-port={settings.inbound_port}"
    yield f"--proxy-uid={PROXY_ID}"
    yield f"--proxy-gid={PROXY_ID}"
    yield f"--include-ranges={capture.include_ranges}"
    yield f"--include-inbound-ports={capture.include_inbound}"
    yield f"--exclude-inbound-ports={excluded}"
    further = {
        "--exclude-ranges": capture.exclude_ranges,
        "--include-outbound-ports": capture.include_outbound,
        "--exclude-outbound-ports": capture.exclude_outbound,
        "--exclude-interfaces": capture.exclude_interfaces,
        "--virtual-interfaces": capture.virtual_interfaces,
    }
    yield from (f"{flag}={value}" for flag, value in further.items() if value)


def _environment(settings: InjectionSettings, options: Options, workload: Workload) -> Iterator[Env]:
    yield Env(name="CA_ADDR", value=settings.ca_address)
    yield _field("POD_NAME", "metadata.name")
    yield _field("POD_NAMESPACE", "metadata.namespace")
    yield _field("INSTANCE_IP", "status.podIP")
    yield _field("SERVICE_ACCOUNT", "spec.serviceAccountName")
    yield _field("ISTIO_META_NODE_NAME", "spec.nodeName")
    yield Env(name="TRUST_DOMAIN", value=settings.trust_domain)
    if config := _agent_config(options):
        yield Env(name="PROXY_CONFIG", value=config)
    yield Env(name="ISTIO_META_CLUSTER_ID", value=settings.cluster_name)
    yield Env(name="ISTIO_META_MESH_ID", value=settings.mesh_id or settings.trust_domain)
    if not options.is_gateway:
        yield Env(name="ISTIO_META_INTERCEPTION_MODE", value="REDIRECT" if options.capture is not None else "NONE")
    if options.network:
        yield Env(name="ISTIO_META_NETWORK", value=options.network)
    if workload.name:
        yield Env(name="ISTIO_META_WORKLOAD_NAME", value=workload.name)
    yield from (Env(name=name, value=value) for name, value in options.config.environment.items())


def _agent_config(options: Options) -> str:
    """Of ProxyConfig, what the agent reads; "" when that is what it takes anyway."""
    said = {
        "concurrency": options.config.concurrency,
        "drainDuration": options.config.drain,
        "terminationDrainDuration": options.config.termination_drain,
        "statusPort": options.agent_port if options.agent_port != STATUS_PORT else None,
    }
    known = {name: value for name, value in said.items() if value is not None}
    return msgspec.json.encode(known).decode() if known else ""


def _field(name: str, path: str) -> Env:
    return Env(name=name, value_from=ValueFrom(field_ref=FieldRef(field_path=path)))


def _resources(options: Options) -> ResourcesOf:
    return ResourcesOf(requests=_amounts(options.resources.requests), limits=_amounts(options.resources.limits))


def _amounts(amounts: Amounts) -> dict[str, str]:
    said = {"cpu": amounts.cpu, "memory": amounts.memory}
    return {name: amount for name, amount in said.items() if amount is not None}


def _startup(settings: InjectionSettings, options: Options) -> ProxyProbe | None:
    """What is beside a native sidecar starts when this has been answered once."""
    if options.is_gateway:
        return None
    return ProxyProbe(
        http_get=_READY,
        initial_delay_seconds=0,
        period_seconds=1,
        timeout_seconds=_ANSWER,
        failure_threshold=settings.startup_failure_threshold,
    )


def _readiness(options: Options) -> ProxyProbe | None:
    if not options.status_port:
        return None
    return ProxyProbe(
        http_get=_READY,
        initial_delay_seconds=options.initial_delay,
        period_seconds=options.period,
        timeout_seconds=_ANSWER,
        failure_threshold=options.failure_threshold,
    )


def _hooks(options: Options) -> Hooks | None:
    """A container's hook has to end before the kubelet starts the next one: that holds the application.

    A native sidecar is asked to end last, but its hook runs first.
    """
    if options.native:
        return Hooks(pre_stop=Handler(exec=ExecAction(command=(*_COMMAND, "drain"))))
    if not options.hold or options.is_gateway:
        return None
    return Hooks(post_start=Handler(exec=ExecAction(command=(*_COMMAND, "wait"))))
