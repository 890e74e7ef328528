"""Durations, node ids, mesh settings."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.model.durations import format_duration, parse_duration
from controlplane.model.encode import settings_mapping
from controlplane.model.meshconfig import decode_settings
from controlplane.model.proxy import BadNodeError, InterceptionMode, Locality, ProxyType, parse_node
from controlplane.model.settings import MinProtocolVersion, Settings
from controlplane.model.virtualservice import HTTPRetry


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1.5s", 1.5),
        ("1h30m", 5400),
        ("100ms", 0.1),
        ("0", 0),
        ("0s", 0),
        (".5s", 0.5),
        ("-2s", -2),
        ("1us", 1e-6),
        ("1m1s", 61),
    ],
)
def test_durations_are_read(text, seconds):
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "1 s", "1d", "1s ", "P1D", "1.5.5s", "--1s", "1s" * 40])
def test_other_text_is_no_duration(text):
    with pytest.raises(ValueError, match="must be a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["2562047h47m16s", "315576000001s", "-9999999999s", "1" + "0" * 50 + "h"])
def test_no_duration_is_longer_than_protobuf_and_envoy_can_keep(text):
    with pytest.raises(ValueError, match="longer duration"):
        parse_duration(text)
    assert parse_duration("2562047h47m15s") == timedelta(seconds=9223372035)


@given(st.timedeltas(min_value=timedelta(days=-9000), max_value=timedelta(days=9000)))
def test_durations_are_written_as_they_are_read(duration):
    assert parse_duration(format_duration(duration)) == duration


def test_a_sidecar_says_who_it_is():
    proxy = parse_node(
        "sidecar~10.0.0.7~reviews-v1-abc.default~default.svc.cluster.local",
        {
            "LABELS": {"app": "reviews", "n": 1},
            "SERVICE_ACCOUNT": "reviews",
            "INSTANCE_IPS": "10.0.0.7,fd00::7",
            "CLUSTER_ID": "Kubernetes",
            "NETWORK": "net-1",
            "NODE_NAME": "node-1",
            "ISTIO_VERSION": "1.30.0",
            "INTERCEPTION_MODE": "TPROXY",
        },
        Locality("eu", "eu-1a"),
    )
    assert (proxy.type, proxy.namespace, proxy.name) == (ProxyType.SIDECAR, "default", "reviews-v1-abc")
    assert proxy.ips == ("10.0.0.7", "fd00::7")
    assert proxy.labels == {"app": "reviews"}
    assert proxy.domain == "cluster.local"
    assert proxy.interception is InterceptionMode.TPROXY
    assert str(proxy.locality) == "eu/eu-1a"
    assert proxy.key == ("default", "reviews-v1-abc")


def test_a_router_without_metadata_is_named_by_its_id():
    proxy = parse_node("router~10.0.0.1~gw-x.istio-system~istio-system.svc.my.domain", {"NAMESPACE": 5, "LABELS": "x"})
    assert (proxy.type, proxy.namespace, proxy.domain) == (ProxyType.ROUTER, "istio-system", "my.domain")


@pytest.mark.parametrize("node", ["", "sidecar~1~2", "waypoint~1~a.b~c", "sidecar~1~a.b~c~d"])
def test_a_node_that_does_not_say_who_it_is_is_refused(node):
    with pytest.raises(BadNodeError, match="node id"):
        parse_node(node, {})


@pytest.mark.parametrize("text", ["", "eu", "eu/zone", "eu/zone/rack"])
def test_localities_are_written_as_they_are_read(text):
    assert str(Locality.parse(text)) == text


def test_settings_have_istios_defaults():
    settings, problems = decode_settings({})
    assert settings == Settings()
    assert problems == ()
    assert settings.root_namespace == "lateen-system"


def test_settings_are_read_from_mesh_config():
    settings, problems = decode_settings(
        {
            "accessLogFile": "/dev/stdout",
            "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
            "rootNamespace": "istio-config",
            "defaultConfig": {"gatewayTopology": {"numTrustedProxies": 2}},
            "enableAutoMtls": False,
            "meshMTLS": {"minProtocolVersion": "TLSV1_3"},
            "inboundTrafficPolicy": {"mode": "PASSTHROUGH"},
            "defaultHttpRetryPolicy": {"attempts": 0},
            "tenancy": "istio",
        }
    )
    assert problems == ()
    assert settings.root_namespaces == ("istio-config",)
    assert settings.num_trusted_proxies == 2
    assert not settings.enable_auto_mtls
    assert settings.mesh_mtls.min_protocol_version is MinProtocolVersion.TLSV1_3
    assert settings.default_http_retry_policy == HTTPRetry(attempts=0)


def test_what_mesh_config_has_and_lateen_has_not_is_said():
    topology = {"numTrustedProxies": 1, "forwardClientCertDetails": "APPEND_FORWARD"}
    proxy = {"zipkinAddress": "zipkin:9411", "tracing": {}, "gatewayTopology": topology}
    providers = [{"name": "tracer", "zipkin": {"service": "zipkin.example.com", "port": 9411}}]
    unread = {
        "extensionProviders": providers,
        "meshMTLS": {"cipherSuites": ["X"]},
        "inboundTrafficPolicy": {"mode": "LOCALHOST"},
    }
    _, problems = decode_settings({**unread, "defaultConfig": proxy, "acessLogFile": "x"})
    assert {(one.code, one.origin.path) for one in problems} == {
        ("NotSupportedYet", "extensionProviders[0].zipkin"),
        ("NotSupportedYet", "meshMTLS.cipherSuites"),
        ("NotSupportedYet", "inboundTrafficPolicy"),
        ("NotSupportedYet", "defaultConfig.zipkinAddress"),
        ("NotSupportedYet", "defaultConfig.tracing"),
        ("NotSupportedYet", "defaultConfig.gatewayTopology.forwardClientCertDetails"),
        ("UnknownField", "acessLogFile"),
    }


HTTP_PROVIDER = {"service": "auth/opa.example.com", "port": 9000}
PROVIDERS = [
    ({"service": ""}, "RequiredField", "service"),
    ({"service": "a b"}, "InvalidHost", "service"),
    ({"service": "A/opa"}, "InvalidName", "service"),
    ({"port": 0}, "RequiredField", "port"),
    ({"port": 65536}, "InvalidPort", "port"),
    ({"timeout": "0s"}, "InvalidDuration", "timeout"),
    ({"pathPrefix": "check"}, "InvalidValue", "pathPrefix"),
    ({"statusOnError": "teapot"}, "InvalidStatus", "statusOnError"),
    ({"includeRequestHeadersInCheck": ["*"]}, "InvalidHeader", "includeRequestHeadersInCheck[0]"),
    ({"headersToUpstreamOnAllow": ["x", "a b"]}, "InvalidHeader", "headersToUpstreamOnAllow[1]"),
    ({"includeAdditionalHeadersInCheck": {"x": "a\nb"}}, "InvalidHeader", "includeAdditionalHeadersInCheck[x]"),
    ({"includeRequestBodyInCheck": {}}, "RequiredField", "includeRequestBodyInCheck.maxRequestBytes"),
]


@pytest.mark.parametrize(("fields", "code", "path"), PROVIDERS, ids=str)
def test_a_bad_provider_is_gone_and_the_others_stay(fields, code, path):
    bad = {"name": "bad", "envoyExtAuthzHttp": {**HTTP_PROVIDER, **fields}}
    good = {"name": "good", "envoyExtAuthzGrpc": HTTP_PROVIDER}
    settings, problems = decode_settings({"extensionProviders": [bad, good], "trustDomain": "td"})
    assert (code, f"extensionProviders[0].envoyExtAuthzHttp.{path}") in {
        (one.code, one.origin.path) for one in problems
    }
    assert [one.name for one in settings.extension_providers] == ["good"]
    assert settings.trust_domain == "td"


def test_names_of_providers_are_told_apart():
    twice = {"name": "a", "envoyExtAuthzGrpc": HTTP_PROVIDER}
    settings, problems = decode_settings({"extensionProviders": [twice, twice]})
    assert [(one.code, one.origin.path) for one in problems] == [("DuplicateValue", "extensionProviders[1].name")]
    assert len(settings.extension_providers) == 1


def test_a_bad_setting_keeps_its_default():
    settings, problems = decode_settings(
        {
            "connectTimeout": "0s",
            "dnsRefreshRate": 5,
            "proxyListenPort": 99999,
            "defaultServiceExportTo": ["A B"],
            "trustDomain": "td",
        }
    )
    assert settings == Settings(trust_domain="td")
    assert {one.origin.path for one in problems} == {
        "connectTimeout",
        "dnsRefreshRate",
        "proxyListenPort",
        "defaultServiceExportTo[0]",
    }


def test_settings_can_be_written_out_and_read_again():
    written = {
        "trustDomain": "mesh.example",
        "trustDomainAliases": ["old.example"],
        "connectTimeout": "3s",
        "rootNamespaces": ["lateen-system"],
        "pathNormalization": {"normalization": "MERGE_SLASHES"},
        "numTrustedProxies": 2,
        "extensionProviders": [{"name": "opa", "envoyExtAuthzHttp": {**HTTP_PROVIDER, "timeout": "0.5s"}}],
    }
    settings, problems = decode_settings(written)
    assert problems == ()
    assert decode_settings(settings_mapping(settings)) == (settings, ())
    assert settings_mapping(Settings()) == {}
