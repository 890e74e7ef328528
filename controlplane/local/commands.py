"""The command that stands for a container, and its environment.

How traffic gets into the sidecar without root is a contract with the command, told by environment variables:

  HOST                       the replica's own loopback address: listen there
  PORT, PORT_<name>          the ports that stand for the container's ports (PORT: the first)
  http_proxy                 the sidecar's listener for HTTP calls: most clients use it unasked
  <SERVICE>_SERVICE_HOST     the sidecar's listener for the TCP ports of a Service in the same namespace, in the words
  <SERVICE>_SERVICE_PORT     Kubernetes itself uses; also _SERVICE_PORT_<NAME> for named ports
"""

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from controlplane.local.lateenfile import CommandSpec
from controlplane.local.manifests import Container, EnvFrom, EnvVar, KeyRef, Manifests, NameRef
from controlplane.local.plan import Inputs, ProcessSpec, ReplicaPort, TcpListener
from controlplane.model.problem import ObjectRef

# Variables of the caller that would lead a command's calls around its sidecar.
PROXY_VARIABLES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "NO_PROXY")


class PodFacts(msgspec.Struct, frozen=True):
    """What a replica knows of itself when its commands are made."""

    namespace: str
    name: str
    service_account: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    address: str
    ports: tuple[ReplicaPort, ...]
    http_proxy_port: int


class Missing(msgspec.Struct, frozen=True):
    """There is nothing to run, and why."""

    reason: str


def contract(pod: PodFacts) -> dict[str, str]:
    """The variables that make the mesh reachable."""
    env = {
        "HOST": pod.address,
        "http_proxy": f"http://{pod.address}:{pod.http_proxy_port}",
        "no_proxy": f"localhost,127.0.0.1,{pod.address}",
    }
    if pod.ports:
        env["PORT"] = str(pod.ports[0].command)
    return env | {f"PORT_{_variable(port.name)}": str(port.command) for port in pod.ports if port.name}


def service_variables(address: str, listeners: Sequence[TcpListener]) -> dict[str, str]:
    """Where the TCP Services of the namespace are, for this replica."""
    env: dict[str, str] = {}
    for listener in listeners:
        prefix = f"{_variable(listener.service).upper()}_SERVICE"
        port = str(listener.number)
        env.setdefault(f"{prefix}_HOST", address)
        env.setdefault(f"{prefix}_PORT", port)
        if listener.name:
            env[f"{prefix}_PORT_{_variable(listener.name).upper()}"] = port
    return env


def process(container: Container, spec: CommandSpec | None, pod: PodFacts, inputs: Inputs) -> ProcessSpec | Missing:
    """The stand-in for one container, without the Services' variables: those change without a restart."""
    env = _container_env(container, pod, inputs.manifests) | dict(spec.env if spec else {}) | contract(pod)
    if spec is not None:
        argv = tuple(_filled(word, pod, inputs.python) for word in spec.argv)
        return ProcessSpec(container.name, argv, str(spec.directory), env)
    if not container.command:
        image = f" ({container.image})" if container.image else ""
        return Missing(f"its image{image} does not say what to run here: name a command for it in Lateenfile")
    argv = tuple(expand(word, env) for word in (*container.command, *container.args))
    own = Path(container.working_dir)
    directory = own if container.working_dir and own.is_dir() else inputs.directory
    return ProcessSpec(container.name, argv, str(directory), env)


def expand(text: str, env: Mapping[str, str]) -> str:
    """`$(NAME)` as Kubernetes expands it in commands and variables: unknown ones stay, `$$(NAME)` is literal."""
    parts: list[str] = []
    rest = text
    while (start := rest.find("$(")) >= 0:
        end = rest.find(")", start)
        if end < 0:
            break
        if start > 0 and rest[start - 1] == "$":
            parts.append(rest[: start - 1] + rest[start : end + 1])
        else:
            parts.append(rest[:start] + env.get(rest[start + 2 : end], rest[start : end + 1]))
        rest = rest[end + 1 :]
    return "".join(parts) + rest


def _filled(word: str, pod: PodFacts, python: str) -> str:
    """Placeholders by plain replacement: a command is no format template."""
    values = {"{host}": pod.address, "{python}": python}
    if pod.ports:
        values["{port}"] = str(pod.ports[0].command)
    values |= {f"{{port_{port.name}}}": str(port.command) for port in pod.ports if port.name}
    for placeholder, value in values.items():
        word = word.replace(placeholder, value)
    return word


def _container_env(container: Container, pod: PodFacts, manifests: Manifests) -> dict[str, str]:
    env: dict[str, str] = {}
    for many in container.env_from:
        for kind, ref in _sources(many):
            contents = _contents(kind, ref.name, pod.namespace, manifests) or {}
            env |= {f"{many.prefix}{key}": value for key, value in contents.items()}
    for variable in container.env:
        value = _value(variable, pod, manifests)
        if value is not None:
            env[variable.name] = expand(value, env)
    return env


def unset(container: Container, namespace: str, manifests: Manifests) -> Iterator[tuple[str, str]]:
    """(field, what is wrong) of variables that have no value because what they name is not there."""
    for index, many in enumerate(container.env_from):
        for kind, ref in _sources(many):
            if not ref.optional and _contents(kind, ref.name, namespace, manifests) is None:
                yield f"envFrom[{index}]", f"there is no {kind} {namespace}/{ref.name}: its variables are not set"
    for index, variable in enumerate(container.env):
        for kind, key in _key_sources(variable):
            contents = _contents(kind, key.name, namespace, manifests)
            if not key.optional and (contents is None or key.key not in contents):
                what = f"{kind} {namespace}/{key.name}"
                words = f"there is no {what}" if contents is None else f"{what} has no key {key.key!r}"
                yield f"env[{index}].valueFrom", f"{words}: {variable.name} is not set"


def _sources(many: EnvFrom) -> Iterator[tuple[str, NameRef]]:
    if many.config_map_ref is not None:
        yield "ConfigMap", many.config_map_ref
    if many.secret_ref is not None:
        yield "Secret", many.secret_ref


def _key_sources(variable: EnvVar) -> Iterator[tuple[str, KeyRef]]:
    source = variable.value_from
    if source is not None and source.config_map_key_ref is not None:
        yield "ConfigMap", source.config_map_key_ref
    if source is not None and source.secret_key_ref is not None:
        yield "Secret", source.secret_key_ref


def _value(variable: EnvVar, pod: PodFacts, manifests: Manifests) -> str | None:
    source = variable.value_from
    if source is None:
        return variable.value or ""
    if source.field_ref is not None:
        return _field(source.field_ref.field_path, pod)
    for kind, key in _key_sources(variable):
        return (_contents(kind, key.name, pod.namespace, manifests) or {}).get(key.key)
    return None


def _field(path: str, pod: PodFacts) -> str | None:
    for prefix, values in (("metadata.labels['", pod.labels), ("metadata.annotations['", pod.annotations)):
        if path.startswith(prefix):
            return values.get(path.removeprefix(prefix).removesuffix("']"), "")
    return {
        "metadata.name": pod.name,
        "metadata.namespace": pod.namespace,
        "spec.serviceAccountName": pod.service_account,
        "spec.nodeName": "localhost",
        "status.podIP": pod.address,
        "status.podIPs": pod.address,
        "status.hostIP": pod.address,
        "status.hostIPs": pod.address,
    }.get(path)


def _contents(kind: str, name: str, namespace: str, manifests: Manifests) -> Mapping[str, str] | None:
    """The texts of a ConfigMap or Secret by key; None when there is none."""
    manifest = manifests.get(ObjectRef("", kind, namespace, name))
    if manifest is None:
        return None
    data, plain = manifest.get("data"), manifest.get("stringData")
    texts = {key: value for key, value in _items(data) if isinstance(value, str)}
    if kind == "ConfigMap":
        return texts
    decoded = {key: text for key, value in texts.items() if (text := _decoded(value)) is not None}
    return decoded | {key: value for key, value in _items(plain) if isinstance(value, str)}


def _items(value: Any) -> Iterable[tuple[str, Any]]:
    return value.items() if isinstance(value, Mapping) else ()


def _decoded(text: str) -> str | None:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _variable(name: str) -> str:
    """As Kubernetes turns a Service's name into a variable's."""
    return name.replace("-", "_").replace(".", "_")
