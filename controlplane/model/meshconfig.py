"""Settings from Istio's MeshConfig, as its users have it in a ConfigMap or an IstioOperator file.

MeshConfig is larger than what Lateen does: what is not done yet is said, field by field, and a field that cannot be
read keeps its default. A mesh without settings is better than no mesh.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NoReturn

import msgspec

from controlplane.model.problem import Level, ObjectRef, Problem
from controlplane.model.settings import AccessLogEncoding, Settings
from controlplane.model.validate.common import (
    check_duration,
    check_export_to,
    check_fqdn,
    check_name,
    check_port,
    check_subnet,
    each,
)
from controlplane.model.validate.destinationrule import check_connection_pool, check_locality, check_outlier_detection
from controlplane.model.validate.extensionprovider import check_providers
from controlplane.model.validate.findings import Findings
from controlplane.model.validate.substitution import substitution_error
from controlplane.model.validate.virtualservice import check_retries
from controlplane.model.walk import UNREADABLE, Walker

REF: Final = ObjectRef("", "MeshConfig", "", "mesh")

# Fields of MeshConfig and of its defaultConfig (ProxyConfig) that Lateen does not act on.
_NOT_YET: Final = frozenset(
    {
        "accessLogging",
        "ca",
        "caCertificates",
        "certificates",
        "configSources",
        "defaultProviders",
        "disableEnvoyListenerLog",
        "discoverySelectors",
        "enableEnvoyAccessLogService",
        "enableTracing",
        "hboneIdleTimeout",
        "inboundClusterStatName",
        "inboundTrafficPolicy",
        "mixerCheckServer",
        "outboundClusterStatName",
        "proxyMetadata",
        "serviceScopeConfigs",
        "serviceSettings",
        "thriftConfig",
        "tlsDefaults",
        "zoneAwareLbSetting",
    }
)
# What injection reads for the Pods it changes (`webhooks/injection/settings.py`, `proxyconfig.py`), and nobody else.
OF_INJECTION: Final = frozenset({"enablePrometheusMerge"})
OF_INJECTION_IN_PROXIES: Final = frozenset(
    {
        "concurrency",
        "drainDuration",
        "holdApplicationUntilProxyStarts",
        "interceptionMode",
        "proxyMetadata",
        "statusPort",
        "terminationDrainDuration",
    }
)
_NOT_YET_IN_MTLS: Final = frozenset({"cipherSuites", "ecdhCurves"})
# Kinds of extensionProviders that Lateen does not ask.
_PROVIDERS_NOT_YET: Final = frozenset(
    {
        "datadog",
        "envoyFileAccessLog",
        "envoyHttpAls",
        "envoyOtelAls",
        "envoyTcpAls",
        "lightstep",
        "opencensus",
        "opentelemetry",
        "prometheus",
        "sds",
        "skywalking",
        "stackdriver",
        "zipkin",
    }
)
# What holds anyway.
_SO_ANYWAY: Final[Mapping[str, object]] = {
    "inboundTrafficPolicy": {"mode": "PASSTHROUGH"},
}


def decode_settings(document: Mapping[str, Any]) -> tuple[Settings, tuple[Problem, ...]]:
    """Settings from a MeshConfig, and all that is wrong with it."""
    walker = Walker(REF)
    settings = walker.read(Settings, _flattened(document, walker))
    if settings is UNREADABLE:
        return Settings(), walker.all_problems()
    found = Findings(REF)
    _check(found, settings)
    problems = found.done()
    bad = {*walker.bad, *(problem.origin.path for problem in problems if problem.level is Level.ERROR)}
    kept, rest = _without_bad_providers(settings, bad)
    return _with_defaults(kept, rest), (*walker.all_problems(), *problems)


def _flattened(document: object, walker: Walker) -> object:
    """The document with Istio's nesting undone, and without what is not done yet."""
    if not isinstance(document, Mapping):
        return document
    read_here = {key: value for key, value in document.items() if key not in OF_INJECTION}
    fields = {key: value for key, value in read_here.items() if not _said(str(key), value, walker)}
    root = fields.pop("rootNamespace", None)
    if root is not None:
        fields.setdefault("rootNamespaces", [root])
    if "extensionProviders" in fields:
        fields["extensionProviders"] = _known_providers(fields["extensionProviders"], walker)
    if isinstance(mutual := fields.get("meshMTLS"), Mapping):
        fields["meshMTLS"] = {key: value for key, value in mutual.items() if not _unread(key, walker)}
    proxy = fields.pop("defaultConfig", None)
    if isinstance(proxy, Mapping):
        fields |= _from_proxy_config(proxy, walker)
    return fields


def _known_providers(providers: object, walker: Walker) -> object:
    """Without what the mesh cannot ask; all keep their places, so that paths still mean what the author's do."""
    if not isinstance(providers, list | tuple):
        return providers
    return [_known_provider(f"extensionProviders[{i}]", provider, walker) for i, provider in enumerate(providers)]


def _known_provider(path: str, provider: object, walker: Walker) -> object:
    if not isinstance(provider, Mapping):
        return provider
    for kind in provider.keys() & _PROVIDERS_NOT_YET:
        _not_yet(f"{path}.{kind}", walker)
    return {key: value for key, value in provider.items() if key not in _PROVIDERS_NOT_YET}


def _from_proxy_config(proxy: Mapping[str, Any], walker: Walker) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, value in proxy.items():
        if key == "gatewayTopology" and isinstance(value, Mapping):
            fields["numTrustedProxies"] = value.get("numTrustedProxies", 0)
            for name in value:
                if name != "numTrustedProxies":
                    _not_yet(f"defaultConfig.gatewayTopology.{name}", walker)
        elif key not in OF_INJECTION_IN_PROXIES:
            _not_yet(f"defaultConfig.{key}", walker)
    return fields


def _said(key: str, value: object, walker: Walker) -> bool:
    if key in _NOT_YET and not (key in _SO_ANYWAY and value == _SO_ANYWAY[key]):
        _not_yet(key, walker)
    return key in _NOT_YET


def _unread(key: object, walker: Walker) -> bool:
    """Whether a field of `meshMTLS` is one that is not done yet."""
    if key not in _NOT_YET_IN_MTLS:
        return False
    _not_yet(f"meshMTLS.{key}", walker)
    return True


def _not_yet(path: str, walker: Walker) -> None:
    walker.report("NotSupportedYet", path, f"{path} is not supported yet: it has no effect", Level.WARNING)


def _without_bad_providers(settings: Settings, bad: set[str]) -> tuple[Settings, set[str]]:
    """A bad provider is gone, the others stay; and the faults that this does not contain."""
    places = {f"extensionProviders[{number}]": one for number, one in enumerate(settings.extension_providers)}
    of_each = {path: path.partition("]")[0] + "]" for path in bad if path.startswith("extensionProviders[")}
    kept = tuple(one for place, one in places.items() if place not in of_each.values())
    return msgspec.structs.replace(settings, extension_providers=kept), bad - of_each.keys()


def _with_defaults(settings: Settings, bad: set[str]) -> Settings:
    names = dict(zip(Settings.__struct_encode_fields__, Settings.__struct_fields__, strict=True))
    tops = {path.split(".")[0].split("[")[0] for path in bad}
    default = Settings()
    return msgspec.structs.replace(
        settings, **{names[top]: getattr(default, names[top]) for top in tops if top in names}
    )


def _check(found: Findings, settings: Settings) -> None:
    check_duration(found, "connectTimeout", settings.connect_timeout)
    check_duration(found, "dnsRefreshRate", settings.dns_refresh_rate)
    check_duration(found, "protocolDetectionTimeout", settings.protocol_detection_timeout, zero=True)
    check_port(found, "proxyListenPort", settings.proxy_listen_port)
    check_port(found, "proxyInboundListenPort", settings.proxy_inbound_listen_port)
    check_port(found, "proxyHttpPort", settings.proxy_http_port or None)
    check_fqdn(found, "trustDomain", settings.trust_domain)
    for i, alias in enumerate(settings.trust_domain_aliases):
        check_fqdn(found, f"trustDomainAliases[{i}]", alias)
    check_port(found, "privilegedPortOffset", settings.privileged_port_offset or None)
    check_fqdn(found, "clusterDomain", settings.cluster_domain)
    check_providers(found, "extensionProviders", settings.extension_providers)
    each(found, "jwksAllowedNetworks", settings.jwks_allowed_networks, check_subnet)
    for i, name in enumerate(settings.root_namespaces):
        check_name(found, f"rootNamespaces[{i}]", name)
    check_export_to(found, "defaultServiceExportTo", settings.default_service_export_to)
    check_export_to(found, "defaultVirtualServiceExportTo", settings.default_virtual_service_export_to)
    check_export_to(found, "defaultDestinationRuleExportTo", settings.default_destination_rule_export_to)
    check_locality(found, "localityLbSetting", settings.locality_lb_setting)
    _check_policies(found, settings)
    if error := _log_format_error(settings.access_log_format, settings.access_log_encoding):
        found.error("InvalidValue", "accessLogFormat", f"{error}. The default format is used")


def _check_policies(found: Findings, settings: Settings) -> None:
    _checked(found, "defaultHttpRetryPolicy", settings.default_http_retry_policy, check_retries)
    _checked(found, "defaultInboundHttpRetryPolicy", settings.default_inbound_http_retry_policy, check_retries)
    policy = settings.default_traffic_policy
    if policy is not None:
        _checked(found, "defaultTrafficPolicy.connectionPool", policy.connection_pool, check_connection_pool)
        _checked(found, "defaultTrafficPolicy.outlierDetection", policy.outlier_detection, check_outlier_detection)


def _checked(found: Findings, path: str, value: Any, rule: Callable[[Findings, str, Any], None]) -> None:
    if value is not None:
        rule(found, path, value)


def _log_format_error(written: str, encoding: AccessLogEncoding) -> str:
    """What would make Envoy refuse every listener."""
    if not written or encoding is AccessLogEncoding.TEXT:
        return substitution_error(written)
    try:
        fields = json.loads(written, parse_constant=_not_json)
    except (ValueError, RecursionError):
        return "is no JSON, which accessLogEncoding asks for"
    if not isinstance(fields, dict):
        return "is JSON, but no object with a field for each value"
    return next(filter(None, map(substitution_error, _texts(fields))), "")


def _not_json(name: str) -> NoReturn:
    raise ValueError(name)  # Infinity and NaN, which Python reads


def _texts(value: object) -> Iterator[str]:
    """Every string below a JSON value; keys are taken as they are."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for below in value.values() if isinstance(value, dict) else value:
            yield from _texts(below)
