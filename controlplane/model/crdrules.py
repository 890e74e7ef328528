"""What the CRDs say beyond the types of the model: bounds, required fields, and fields that exclude others.

An API server that knows these rules answers `kubectl apply` with them, before anything of ours has seen the object.
They are a part of what `validate` says; a test holds that nothing is refused here that is accepted there.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from controlplane.model.authorizationpolicy import AuthorizationPolicySpec, Condition, Rule, Source
from controlplane.model.destinationrule import (
    ClientTLSSettings,
    ConsistentHashLB,
    CookieAttribute,
    DestinationRuleSpec,
    HTTPCookie,
    HTTPSettings,
    LoadBalancerSettings,
    LocalityLbSetting,
    OutlierDetection,
    PortSelector,
    PortTrafficPolicy,
    RetryBudget,
    Subset,
    TCPSettings,
    TrafficPolicy,
    Tunnel,
    Warmup,
)
from controlplane.model.gateway import GatewaySpec, Port, Server, ServerTLSSettings, TLSCertificate
from controlplane.model.jwks import MAX_BYTES as MAX_JWKS
from controlplane.model.jwksuri import MAX_LENGTH as MAX_URI
from controlplane.model.peerauthentication import PeerAuthenticationSpec
from controlplane.model.requestauthentication import ClaimToHeader, JWTHeader, JWTRule, RequestAuthenticationSpec
from controlplane.model.serviceentry import ServiceEntryPort, ServiceEntrySpec, WorkloadEntrySpec
from controlplane.model.sidecar import EgressListener, IngressListener, SidecarSpec
from controlplane.model.validate.authorizationpolicy import MAX_ACCOUNT, MAX_ACCOUNTS, MAX_RULES
from controlplane.model.validate.common import MAX_REGEX
from controlplane.model.validate.destinationrule import MAX_PORT_POLICIES
from controlplane.model.validate.requestauthentication import MAX_LIST, MAX_TEXT
from controlplane.model.validate.requestauthentication import MAX_RULES as MAX_JWT_RULES
from controlplane.model.validate.selecting import MAX_TARGETS
from controlplane.model.validate.serviceentry import (
    MAX_ADDRESS,
    MAX_ADDRESSES,
    MAX_ENDPOINTS,
    MAX_HOSTS,
    MAX_WORKLOAD_ADDRESS,
)
from controlplane.model.validate.tls import MAX_CERTIFICATES
from controlplane.model.virtualservice import (
    Delegate,
    Destination,
    FaultAbort,
    FaultDelay,
    HTTPBody,
    HTTPDirectResponse,
    HTTPFaultInjection,
    HTTPMatchRequest,
    HTTPMirrorPolicy,
    HTTPRedirect,
    HTTPRetry,
    HTTPRewrite,
    HTTPRoute,
    HTTPRouteDestination,
    L4MatchAttributes,
    Percent,
    RegexRewrite,
    RouteDestination,
    StringMatch,
    TCPRoute,
    TLSMatchAttributes,
    TLSRoute,
    VirtualServiceSpec,
)

Schema = dict[str, Any]


class Cel(msgspec.Struct, frozen=True):
    """One CEL rule (`x-kubernetes-validations`) of an object.

    An API server estimates what a rule may cost and refuses the whole CRD when that is too much; below a list
    without `maxItems` every rule is. So these are for objects that occur once, or in bounded lists.
    """

    rule: str
    message: str


REQUIRED: Final[Mapping[type, Sequence[str]]] = {
    Destination: ("host",),
    HTTPRouteDestination: ("destination",),
    RouteDestination: ("destination",),
    HTTPMirrorPolicy: ("destination",),
    HTTPDirectResponse: ("status",),
    Delegate: ("name",),
    RegexRewrite: ("match", "rewrite"),
    TLSRoute: ("match", "route"),
    TLSMatchAttributes: ("sniHosts",),
    TCPRoute: ("route",),
    DestinationRuleSpec: ("host",),
    Subset: ("name",),
    PortTrafficPolicy: ("port",),
    PortSelector: ("number",),
    Tunnel: ("targetHost", "targetPort"),
    Warmup: ("duration",),
    HTTPCookie: ("name",),
    CookieAttribute: ("name",),
    GatewaySpec: ("servers",),
    Server: ("port", "hosts"),
    TLSCertificate: ("serverCertificate", "privateKey"),
    ServiceEntrySpec: ("hosts",),
    ServiceEntryPort: ("number", "name"),
    IngressListener: ("port",),
    EgressListener: ("hosts",),
    Condition: ("key",),
    JWTRule: ("issuer",),
    JWTHeader: ("name",),
    ClaimToHeader: ("header", "claim"),
}

_PORT: Final = {"minimum": 1, "maximum": 65535}
_NATURAL: Final = {"minimum": 0}
_PERCENT: Final = {"minimum": 0, "maximum": 100}
_ACCOUNTS: Final = {"maxItems": MAX_ACCOUNTS, "items": {"type": "string", "maxLength": MAX_ACCOUNT}}
_STATUS: Final = {"minimum": 200, "maximum": 599}
_TEXT: Final = {"minLength": 1, "maxLength": MAX_TEXT}
_TEXTS: Final = {"maxItems": MAX_LIST, "items": {"type": "string", **_TEXT}}

_ENCRYPTED: Final = ("HTTPS", "TLS")  # protocols of a Gateway's server
_TERMINATING: Final = ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL")  # modes that need a certificate

# Bounds of fields, as JSON schema says them.
BOUNDS: Final[Mapping[tuple[type, str], Schema]] = {
    (PortSelector, "number"): _PORT,
    (HTTPMatchRequest, "port"): _PORT,
    (L4MatchAttributes, "port"): _PORT,
    (TLSMatchAttributes, "port"): _PORT,
    (HTTPRedirect, "port"): _PORT,
    (Tunnel, "targetPort"): _PORT,
    (ServiceEntryPort, "number"): _PORT,
    (ServiceEntryPort, "targetPort"): _PORT,
    (Port, "number"): {"maximum": 65535},  # 0 beside a Unix socket
    (HTTPRouteDestination, "weight"): _NATURAL,
    (RouteDestination, "weight"): _NATURAL,
    (HTTPRetry, "attempts"): _NATURAL,
    (Percent, "value"): _PERCENT,
    (FaultDelay, "percent"): _PERCENT,
    (HTTPRoute, "mirrorPercent"): _PERCENT,
    (FaultAbort, "httpStatus"): _STATUS,
    (HTTPDirectResponse, "status"): _STATUS,
    (StringMatch, "regex"): {"maxLength": MAX_REGEX},
    (RegexRewrite, "match"): {"maxLength": MAX_REGEX},
    (TCPSettings, "maxConnections"): _NATURAL,
    **{
        (HTTPSettings, field): _NATURAL
        for field in (
            "http1MaxPendingRequests",
            "http2MaxRequests",
            "maxRequestsPerConnection",
            "maxRetries",
            "maxConcurrentStreams",
        )
    },
    (OutlierDetection, "maxEjectionPercent"): _PERCENT,
    (OutlierDetection, "minHealthPercent"): _PERCENT,
    (RetryBudget, "percent"): _PERCENT,
    (Warmup, "minimumPercent"): _PERCENT,
    (Warmup, "aggression"): {"minimum": 1},
    (TrafficPolicy, "portLevelSettings"): {"maxItems": MAX_PORT_POLICIES},
    (ServerTLSSettings, "credentialNames"): {"maxItems": MAX_CERTIFICATES},
    (ServerTLSSettings, "tlsCertificates"): {"maxItems": MAX_CERTIFICATES},
    (ServiceEntrySpec, "hosts"): {"minItems": 1, "maxItems": MAX_HOSTS},
    (ServiceEntrySpec, "addresses"): {
        "maxItems": MAX_ADDRESSES,
        "items": {"type": "string", "maxLength": MAX_ADDRESS},
    },
    (ServiceEntrySpec, "endpoints"): {"maxItems": MAX_ENDPOINTS},
    (WorkloadEntrySpec, "address"): {"maxLength": MAX_WORKLOAD_ADDRESS},
    (GatewaySpec, "servers"): {"minItems": 1},
    (Server, "hosts"): {"minItems": 1},
    (EgressListener, "hosts"): {"minItems": 1},
    (AuthorizationPolicySpec, "rules"): {"maxItems": MAX_RULES},
    (AuthorizationPolicySpec, "targetRefs"): {"maxItems": MAX_TARGETS},
    (Rule, "from"): {"minItems": 1},
    (Rule, "to"): {"minItems": 1},
    (Source, "serviceAccounts"): _ACCOUNTS,
    (Source, "notServiceAccounts"): _ACCOUNTS,
    (RequestAuthenticationSpec, "targetRefs"): {"maxItems": MAX_TARGETS},
    (RequestAuthenticationSpec, "jwtRules"): {"maxItems": MAX_JWT_RULES},
    (JWTRule, "issuer"): _TEXT,
    (JWTRule, "audiences"): _TEXTS,
    (JWTRule, "jwksUri"): {"maxLength": MAX_URI},
    (JWTRule, "jwks"): {"maxLength": MAX_JWKS},
    (JWTRule, "fromParams"): _TEXTS,
    (JWTRule, "fromCookies"): _TEXTS,
    (JWTRule, "spaceDelimitedClaims"): _TEXTS,
    (JWTHeader, "name"): {"minLength": 1},
    (ClaimToHeader, "header"): {"minLength": 1},
    (ClaimToHeader, "claim"): _TEXT,
}

# Names that are not camelCase but that Istio's own CRD keeps; an API server would prune them unheard.
ALIASES: Final[Mapping[tuple[type, str], str]] = {(HTTPRoute, "mirrorPercent"): "mirror_percent"}

_LISTS: Final = frozenset(
    {
        "route",
        "distribute",
        "failover",
        "failoverPriority",
        "tlsCertificates",
        "credentialNames",
        "endpoints",
        "mirrors",
        "targetRefs",
        "serviceAccounts",
        "notServiceAccounts",
        "principals",
        "notPrincipals",
        "namespaces",
        "notNamespaces",
    }
)


def _set(name: str) -> Schema:
    """The field is there, and is no empty list."""
    there: Schema = {"required": [name]}
    return there | {"properties": {name: {"minItems": 1}}} if name in _LISTS else there


def _exactly_one(*names: str) -> Schema:
    return {"oneOf": [_set(name) for name in names]}


def _at_most_one(*names: str) -> Schema:
    return {"oneOf": [{"not": _any_of(*names)}, *(_set(name) for name in names)]}


def _any_of(*names: str) -> Schema:
    return {"anyOf": [_set(name) for name in names]}


def _all_of(*names: str) -> Schema:
    return {"allOf": [_set(name) for name in names]}


def _if(field: str, values: Sequence[str], then: Schema) -> Schema:
    """What must hold where a field has one of these values."""
    return {"anyOf": [{"not": _says(field, values)}, then]}


def _says(field: str, values: Sequence[str]) -> Schema:
    return {"required": [field], "properties": {field: {"enum": list(values)}}}


def _without(name: str, *others: str) -> Schema:
    return {"not": {**_set(name), **_any_of(*others)}}


_NO_HOSTS: Final = "(!has(self.hosts) || size(self.hosts) == 0)"

# What each object must hold as a whole: a schema, or CEL for what schemas cannot say, or not in words.
RULES: Final[Mapping[type, Sequence[Schema | Cel]]] = {
    VirtualServiceSpec: (
        Cel(
            "(has(self.http) && size(self.http) > 0) || (has(self.tls) && size(self.tls) > 0)"
            " || (has(self.tcp) && size(self.tcp) > 0)",
            "one of http, tls, tcp is required: this says nothing about traffic",
        ),
        Cel(
            f"!{_NO_HOSTS} || !has(self.gateways) || size(self.gateways) == 0",
            "hosts is required; only a delegate has none, and no gateways",
        ),
        Cel(
            f"!{_NO_HOSTS} || ((!has(self.tls) || size(self.tls) == 0) && (!has(self.tcp) || size(self.tcp) == 0))",
            "hosts is required with tls and tcp: delegates have http only",
        ),
    ),
    StringMatch: (_at_most_one("exact", "prefix", "regex"),),
    HTTPRoute: (_exactly_one("route", "redirect", "directResponse", "delegate"), _at_most_one("mirror", "mirrors")),
    HTTPRedirect: (_at_most_one("port", "derivePort"), _at_most_one("uri", "prefixRewrite")),
    HTTPBody: (_exactly_one("string", "bytes"),),
    HTTPRewrite: (_at_most_one("uri", "uriRegexRewrite"), _any_of("uri", "uriRegexRewrite", "authority")),
    HTTPFaultInjection: (_any_of("delay", "abort"),),
    FaultDelay: (_any_of("fixedDelay", "exponentialDelay"),),
    FaultAbort: (_exactly_one("httpStatus", "grpcStatus", "http2Error"),),
    LoadBalancerSettings: (_at_most_one("simple", "consistentHash"),),
    ConsistentHashLB: (
        _exactly_one("httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName"),
        _at_most_one("ringHash", "maglev"),
    ),
    LocalityLbSetting: (_at_most_one("distribute", "failover"), _at_most_one("distribute", "failoverPriority")),
    ClientTLSSettings: (
        _without("credentialName", "clientCertificate", "privateKey", "caCertificates"),
        _if("mode", ("MUTUAL",), {"anyOf": [_set("credentialName"), _all_of("clientCertificate", "privateKey")]}),
    ),
    Server: (
        {
            "anyOf": [
                {"not": {"required": ["port"], "properties": {"port": _says("protocol", _ENCRYPTED)}}},
                _set("tls"),
            ]
        },
    ),
    ServerTLSSettings: (
        _if("mode", _TERMINATING, _any_of("serverCertificate", "tlsCertificates", "credentialName", "credentialNames")),
        _at_most_one("serverCertificate", "tlsCertificates", "credentialName", "credentialNames"),
        _at_most_one("caCertificates", "caCertCredentialName"),
    ),
    ServiceEntrySpec: (
        Cel("!has(self.hosts) || !('*' in self.hosts)", '"*" is every host there is; name the hosts of this service'),
        Cel(
            "!has(self.workloadSelector) || !has(self.endpoints) || size(self.endpoints) == 0",
            "endpoints and workloadSelector exclude each other",
        ),
        Cel(
            "!has(self.resolution) || self.resolution in ['NONE', 'STATIC']"
            " || !has(self.addresses) || self.addresses.all(a, !a.contains('/'))",
            "a CIDR block in addresses needs resolution NONE or STATIC",
        ),
        Cel(
            "(has(self.resolution) && !(self.resolution in ['NONE', 'DYNAMIC_DNS']))"
            " || !has(self.endpoints) || size(self.endpoints) == 0",
            "resolution NONE and DYNAMIC_DNS take no endpoints; use STATIC or DNS",
        ),
        Cel(
            "!has(self.resolution) || self.resolution != 'DNS_ROUND_ROBIN'"
            " || !has(self.endpoints) || size(self.endpoints) <= 1",
            "resolution DNS_ROUND_ROBIN takes one endpoint at most; use DNS",
        ),
    ),
    WorkloadEntrySpec: (
        Cel("has(self.address) || has(self.network)", "one of address, network is required"),
        Cel(
            "!has(self.address) || !self.address.startsWith('unix://') || !has(self.ports) || size(self.ports) == 0",
            "a Unix socket has no ports; remove ports",
        ),
    ),
    AuthorizationPolicySpec: (
        _at_most_one("selector", "targetRef", "targetRefs"),
        Cel(
            "!has(self.action) || self.action != 'CUSTOM'"
            " || (has(self.provider) && has(self.provider.name) && size(self.provider.name) > 0)",
            "CUSTOM needs a provider, which decides",
        ),
        Cel(
            "!has(self.provider) || (has(self.action) && self.action == 'CUSTOM')",
            "only action CUSTOM asks a provider; remove one of them",
        ),
    ),
    Source: tuple(
        _without(accounts, "principals", "notPrincipals", "namespaces", "notNamespaces")
        for accounts in ("serviceAccounts", "notServiceAccounts")
    ),
    SidecarSpec: (
        Cel(
            "!has(self.outboundTrafficPolicy) || !has(self.outboundTrafficPolicy.egressProxy)"
            " || !has(self.outboundTrafficPolicy.mode) || self.outboundTrafficPolicy.mode == 'ALLOW_ANY'",
            "egressProxy needs mode ALLOW_ANY",
        ),
    ),
    PeerAuthenticationSpec: (
        Cel(
            "!has(self.portLevelMtls) || size(self.portLevelMtls) == 0"
            " || (has(self.selector) && has(self.selector.matchLabels) && size(self.selector.matchLabels) > 0)",
            "portLevelMtls needs a selector",
        ),
    ),
    RequestAuthenticationSpec: (_at_most_one("selector", "targetRef", "targetRefs"),),
    JWTRule: (_at_most_one("jwks", "jwksUri"),),
}
