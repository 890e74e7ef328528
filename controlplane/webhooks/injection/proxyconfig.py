"""`proxy.istio.io/config`: Istio's ProxyConfig in an annotation, and what of it means something here.

Istio puts there what its agent, its templates and its bootstrap look at. Of that, the agent here looks at four fields
and injection at three. The others are named to whoever wrote them.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from controlplane.model.text import printable
from controlplane.model.validate.findings import Findings
from controlplane.webhooks.injection import shortyaml, values

_WITHOUT_EFFECT: Final = frozenset(
    {
        "availabilityZone",
        "binaryPath",
        "caCertificatesPem",
        "configPath",
        "connectTimeout",
        "controlPlaneAuthPolicy",
        "customConfigFile",
        "discoveryAddress",
        "discoveryRefreshDelay",
        "envoyAccessLogService",
        "envoyMetricsService",
        "envoyMetricsServiceAddress",
        "extraStatTags",
        "fileFlushInterval",
        "fileFlushMinSizeKb",
        "gatewayTopology",
        "image",
        "meshId",
        "parentShutdownDuration",
        "privateKeyProvider",
        "proxyAdminPort",
        "proxyBootstrapTemplatePath",
        "proxyHeaders",
        "proxyStatsMatcher",
        "readinessProbe",
        "runtimeValues",
        "sds",
        "serviceCluster",
        "statNameLength",
        "statsCompression",
        "statsdUdpAddress",
        "tracing",
        "tracingServiceName",
        "zipkinAddress",
    }
)
_NODE: Final = ("ISTIO_META_", "ISTIO_METAJSON_")  # goes into the node's metadata
_NOT_DONE: Final = {
    "ISTIO_META_DNS_CAPTURE": "names are not resolved by the proxy",
    "ISTIO_META_DNS_AUTO_ALLOCATE": "names are not resolved by the proxy",
    "ISTIO_META_ENABLE_HBONE": "HBONE is not spoken",
}
_NAME: Final = 128


class ProxyConfig(msgspec.Struct, frozen=True):
    """What means something here; None: not said."""

    concurrency: int | None = None
    drain: str | None = None
    termination_drain: str | None = None
    status_port: int | None = None
    hold: bool | None = None
    mode: str | None = None
    environment: Mapping[str, str] = {}

    def over(self, other: "ProxyConfig") -> "ProxyConfig":
        """These, and of the other what these do not say."""
        merged = {
            name: mine if (mine := getattr(self, name)) is not None else getattr(other, name)
            for name in self.__struct_fields__
        }
        return ProxyConfig(**{**merged, "environment": {**other.environment, **self.environment}})


_Check = Callable[[Any], Any]


def of_annotation(found: Findings, path: str, text: str) -> ProxyConfig:
    """From the annotation's text; what cannot be meant so is an error at its path."""
    try:
        written = shortyaml.read(text)
    except ValueError as error:
        found.error("InvalidAnnotation", path, f"proxy.istio.io/config {error}")
        return ProxyConfig()
    if not isinstance(written, dict):
        if written is not None:
            found.error("InvalidAnnotation", path, "proxy.istio.io/config is no mapping of ProxyConfig's fields")
        return ProxyConfig()
    return read(found, path, written)


def read(found: Findings, path: str, written: Mapping[Any, Any]) -> ProxyConfig:
    """From its fields."""
    said: dict[str, Any] = {}
    for key, value in written.items():
        name = _camel(str(key))
        if name in _FIELDS:
            attribute, check = _FIELDS[name]
            try:
                said[attribute] = check(value)
            except (ValueError, TypeError) as error:
                found.error("InvalidAnnotation", path, f"proxy.istio.io/config: {name} {error}")
        elif name in _WITHOUT_EFFECT:
            found.warn("AnnotationWithoutEffect", path, f"proxy.istio.io/config: {name} has no effect here")
        else:
            found.warn("UnknownAnnotation", path, f"proxy.istio.io/config: there is no field {printable(name, 80)!r}")
    for name in said.get("environment", {}):
        if reason := _unread(name):
            found.warn("AnnotationWithoutEffect", path, f"proxy.istio.io/config: proxyMetadata.{name}: {reason}")
    return ProxyConfig(**said)


def _unread(name: str) -> str:
    if name in _NOT_DONE:
        return _NOT_DONE[name]
    known = name in _VARIABLES or name.startswith(_NODE)
    return "" if known else "nothing here reads it"


def _camel(name: str) -> str:
    """protobuf's JSON takes the names of its fields both ways."""
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("is neither true nor false")
    return value


def _whole(most: int) -> _Check:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise ValueError(f"is no whole number from 0 to {most}")
        return value

    return check


def _text(check: Callable[[str], str]) -> _Check:
    def checked(value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError("is no text")
        return check(value)

    return checked


def _environment(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise TypeError("is no mapping of names to texts")
    return {_variable(name): _said(name, one) for name, one in value.items()}


def _variable(name: Any) -> str:
    fits = isinstance(name, str) and name.isascii() and name.isidentifier() and len(name) <= _NAME
    if not fits:
        raise ValueError(f"has {printable(str(name), 80)!r}, which is no name of an environment variable")
    return str(name)


def _said(name: str, value: Any) -> str:
    """YAML's true and 5 are meant as they were written."""
    if isinstance(value, bool):
        value = str(value).lower()
    if not isinstance(value, str | int):
        raise TypeError(f"has {name}, which is no text")
    try:
        return _VARIABLES.get(name, str)(str(value))
    except ValueError as error:
        raise ValueError(f"has {name}, which is wrong: {error}") from error


def _truth_text(text: str) -> str:
    return str(values.boolean(text)).lower()


# What the agent reads: it would not start with something else in there.
_VARIABLES: Final[Mapping[str, Callable[[str], str]]] = {
    "EXIT_ON_ZERO_ACTIVE_CONNECTIONS": _truth_text,
    "MINIMUM_DRAIN_DURATION": values.duration,
    "SECRET_TTL": values.duration,
    "CA_ADDR": str,
    "TRUST_DOMAIN": str,
}
_FIELDS: Final[Mapping[str, tuple[str, _Check]]] = {
    "concurrency": ("concurrency", _whole(1024)),
    "drainDuration": ("drain", _text(values.duration)),
    "terminationDrainDuration": ("termination_drain", _text(values.duration)),
    "statusPort": ("status_port", _whole(65_535)),
    "holdApplicationUntilProxyStarts": ("hold", _truth),
    "interceptionMode": ("mode", _text(values.mode)),
    "proxyMetadata": ("environment", _environment),
}
