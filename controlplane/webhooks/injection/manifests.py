"""What is put into Pods, as types: Kubernetes' own names and shapes, as far as they are written here.

There is no template and no text to fill in, so nothing a Pod says can end up as anything but a value.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec


class Written(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A piece of a manifest; what is None or empty is left out."""


class FieldRef(Written, frozen=True, kw_only=True):
    field_path: str


class ValueFrom(Written, frozen=True, kw_only=True):
    field_ref: FieldRef


class Env(Written, frozen=True, kw_only=True):
    """A variable: a text, or one of the Pod's own fields."""

    name: str
    value: str | None = None
    value_from: ValueFrom | None = None


class HttpGetAction(Written, frozen=True, kw_only=True):
    path: str
    port: int


class ProxyProbe(Written, frozen=True, kw_only=True):
    http_get: HttpGetAction
    initial_delay_seconds: int | None = None
    period_seconds: int | None = None
    timeout_seconds: int | None = None
    failure_threshold: int | None = None


class ExecAction(Written, frozen=True, kw_only=True):
    command: Sequence[str]


class Handler(Written, frozen=True, kw_only=True):
    exec: ExecAction


class Hooks(Written, frozen=True, kw_only=True):
    post_start: Handler | None = None
    pre_stop: Handler | None = None


class Capabilities(Written, frozen=True, kw_only=True):
    add: Sequence[str] = ()
    drop: Sequence[str] = ()


class Seccomp(Written, frozen=True, kw_only=True):
    type: str


class Security(Written, frozen=True, kw_only=True):
    """What a container may do."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    privileged: bool | None = None
    allow_privilege_escalation: bool | None = None
    read_only_root_filesystem: bool | None = None
    capabilities: Capabilities | None = None
    seccomp_profile: Seccomp | None = None


class PortOf(Written, frozen=True, kw_only=True):
    container_port: int
    protocol: str | None = None
    name: str | None = None


class Mount(Written, frozen=True, kw_only=True):
    name: str
    mount_path: str
    read_only: bool | None = None


class ResourcesOf(Written, frozen=True, kw_only=True):
    requests: Mapping[str, str] = {}
    limits: Mapping[str, str] = {}


class ContainerOf(Written, frozen=True, kw_only=True):
    """A container of ours."""

    name: str
    image: str
    image_pull_policy: str | None = None
    restart_policy: str | None = None
    command: Sequence[str] = ()
    args: Sequence[str] = ()
    ports: Sequence[PortOf] = ()
    env: Sequence[Env] = ()
    resources: ResourcesOf | None = None
    startup_probe: ProxyProbe | None = None
    readiness_probe: ProxyProbe | None = None
    lifecycle: Hooks | None = None
    security_context: Security | None = None
    volume_mounts: Sequence[Mount] = ()
    termination_message_policy: str | None = None


class EmptyDir(Written, frozen=True, kw_only=True):
    medium: str | None = None


class DownwardFile(Written, frozen=True, kw_only=True):
    path: str
    field_ref: FieldRef


class Downward(Written, frozen=True, kw_only=True):
    items: Sequence[DownwardFile]


class Token(Written, frozen=True, kw_only=True):
    path: str
    expiration_seconds: int
    audience: str


class TokenSource(Written, frozen=True, kw_only=True):
    service_account_token: Token


class Projected(Written, frozen=True, kw_only=True):
    sources: Sequence[TokenSource]


class ConfigMapFiles(Written, frozen=True, kw_only=True):
    name: str


class VolumeOf(Written, frozen=True, kw_only=True):
    """A volume of ours."""

    name: str
    empty_dir: EmptyDir | None = None
    downward_api: Downward | None = msgspec.field(default=None, name="downwardAPI")
    projected: Projected | None = None
    config_map: ConfigMapFiles | None = None


def plain(piece: Written) -> dict[str, Any]:
    """As JSON has it."""
    found: dict[str, Any] = msgspec.to_builtins(piece)
    return {key: _listed(value) for key, value in found.items()}


def _listed(value: Any) -> Any:
    """Lists, where the types above say sequence: what is compared with JSON has to be of its kinds."""
    if isinstance(value, Mapping):
        return {key: _listed(below) for key, below in value.items()}
    return [_listed(below) for below in value] if isinstance(value, list | tuple) else value
