"""What the agent is told: in a Pod by the environment that injection sets, elsewhere by flags; mistakes in one line."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.agent.flags import FLAGS
from controlplane.agent.http.client import Address
from controlplane.agent.misuse import Misuse
from controlplane.agent.node import of_environment, parse_labels
from controlplane.agent.settings import Settings, read_settings
from controlplane.agent.words import Words, parse_duration
from controlplane.model.durations import parse_duration as model_duration
from controlplane.model.proxy import parse_node

POD = {
    "POD_NAME": "cart-7d9-x2x",
    "POD_NAMESPACE": "shop",
    "INSTANCE_IP": "10.0.0.7",
    "SERVICE_ACCOUNT": "cart",
    "TRUST_DOMAIN": "cluster.local",
    "ISTIO_META_CLUSTER_ID": "Kubernetes",
    "ISTIO_META_WORKLOAD_NAME": "cart",
    "ISTIO_META_INTERCEPTION_MODE": "REDIRECT",
    "ISTIO_METAJSON_LISTS": '["a"]',
    "PROXY_CONFIG": '{"terminationDrainDuration": "20s", "drainDuration": "30s", "statusPort": 15099, "concurrency": 0}',
    "ISTIO_KUBE_APP_PROBERS": '{"/app-health/cart/livez": {"httpGet": {"path": "/l", "port": 8080, "scheme": "HTTPS", '
    '"httpHeaders": [{"name": "a", "value": "b"}]}, "timeoutSeconds": 3}}',
    "ISTIO_PROMETHEUS_ANNOTATIONS": '{"scrape": "true", "path": "", "port": "9102"}',
    "EXIT_ON_ZERO_ACTIVE_CONNECTIONS": "true",
    "MINIMUM_DRAIN_DURATION": "7s",
    "SECRET_TTL": "1h",
}
FILES = {"/etc/istio/pod/labels": 'app="cart"\nversion="v1"\nodd="a\\"b"\nbroken\n'}


def settings(environment=POD, role="sidecar", **given_flags: str) -> Settings:
    def read(path: Path) -> str:
        if str(path) not in FILES:
            raise FileNotFoundError(path)
        return FILES[str(path)]

    flags = {name.replace("_", "-"): value for name, value in given_flags.items()}
    return read_settings(role, Words(flags, environment, read))


def test_a_pods_environment_says_everything():
    found = settings()
    assert found.node.id == "sidecar~10.0.0.7~cart-7d9-x2x.shop~shop.svc.cluster.local"
    assert found.node.cluster == "cart.shop"
    proxy = parse_node(found.node.id, found.node.metadata)
    assert (proxy.namespace, proxy.name, proxy.service_account) == ("shop", "cart-7d9-x2x", "cart")
    assert proxy.labels == {"app": "cart", "version": "v1", "odd": 'a"b'}
    assert found.node.metadata["LISTS"] == ["a"]
    assert found.node.metadata["PROXY_CONFIG"]["statusPort"] == 15099
    assert found.status.port == 15099
    assert found.status.readiness_port == 15021
    assert found.status.address is None
    assert (found.drain.time, found.drain.until_idle, found.drain.least) == (20.0, True, 7.0)
    assert (found.envoy.drain_seconds, found.envoy.concurrency) == (30, 0)
    assert found.certificate_seconds == 3600
    assert found.expected_name == "spiffe://cluster.local/ns/shop/sa/cart"
    assert found.token == Path("/var/run/secrets/tokens/istio-token")
    prober = found.status.probers["/app-health/cart/livez"]
    assert prober.http is not None
    assert (prober.http.port, prober.http.scheme, prober.seconds) == (8080, "HTTPS", 3)
    assert found.status.scraped_at == Address("127.0.0.1", 9102)


def test_a_flag_overrides_the_environment():
    found = settings(pod_name="other", status_port="1", drain_time="1s", token_file="", concurrency="3")
    assert found.node.metadata["NAME"] == "other"
    assert (found.status.port, found.drain.time, found.token, found.envoy.concurrency) == (1, 1.0, None, 3)


def test_on_one_machine_the_metadata_comes_as_a_file():
    FILES["node.json"] = json.dumps({"LABELS": {"app": "x"}, "INSTANCE_IPS": "127.1.2.3,::1", "BIND": "127.1.2.3"})
    plain = {"pod_name": "x-1", "namespace": "shop", "address": "127.1.2.3", "labels_file": "/nowhere"}
    found = settings({}, metadata_file="node.json", scrape='{"port": "9102"}', **plain)
    assert found.node.metadata["BIND"] == "127.1.2.3"
    assert found.node.id.startswith("sidecar~127.1.2.3~x-1.shop~")
    assert found.node.cluster == "x.shop"
    assert found.status.scraped_at == Address("127.1.2.3", 9102)
    assert found.status.probe_from == ""


def test_defaults_are_istios():
    found = settings({key: POD[key] for key in ("POD_NAME", "POD_NAMESPACE", "INSTANCE_IP")})
    assert (found.status.port, found.status.readiness_port, found.status.probers) == (15020, 15021, {})
    assert (found.drain.time, found.drain.until_idle, found.drain.most) == (5.0, False, None)
    assert (found.envoy.drain_seconds, found.envoy.concurrency) == (45, 2)
    assert found.control_plane == Address("lateend.lateen-system.svc", 15013)
    assert found.certificate_seconds is None
    assert found.expected_name == ""


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"pod_name": ""}, "--pod-name (POD_NAME): is not said"),
        ({"address": "here"}, "--address (INSTANCE_IP): 'here' does not appear to be an IPv4 or IPv6 address"),
        ({"control_plane": "here"}, "--control-plane (CA_ADDR): here is not HOST:PORT"),
        ({"control_plane": "here:99999"}, "--control-plane (CA_ADDR): here:99999 is not HOST:PORT"),
        ({"status_port": "70000"}, "--status-port: 70000 is no number from 0 to 65535"),
        ({"drain_time": "5"}, '--drain-time: "5" is no duration up to a year, such as "5s" or "1m30s"'),
        ({"drain_until_idle": "maybe"}, "--drain-until-idle (EXIT_ON_ZERO_ACTIVE_CONNECTIONS): maybe is neither true"),
        ({"proxy_config": "{"}, "--proxy-config (PROXY_CONFIG): Input data was truncated"),
        ({"proxy_config": "[" * 100_000}, "--proxy-config (PROXY_CONFIG): "),
        ({"proxy_config": '{"statusPort": "x"}'}, "--proxy-config (PROXY_CONFIG): Expected `int`"),
        ({"proxy_config": '{"drainDuration": "x"}'}, "--proxy-config (PROXY_CONFIG): "),
        ({"probes": '{"/x": {"tcpSocket": {"port": 1}}}'}, "--probes (ISTIO_KUBE_APP_PROBERS): /x is not /app-health/"),
        ({"probes": '{"/app-health/a/livez": {}}'}, "needs one of httpGet, tcpSocket and grpc"),
        ({"probes": '{"/app-health/a/livez": {"httpGet": {"port": "http"}}}'}, "Expected `int`"),
        ({"scrape": '{"port": "x"}'}, "--scrape (ISTIO_PROMETHEUS_ANNOTATIONS): port 'x' is no number"),
        ({"scrape": '{"port": "15099"}'}, "it would ask itself for ever"),
        ({"scrape": '{"path": "/a b"}'}, "path '/a b' is none"),
        ({"metadata_file": "nowhere"}, "--metadata-file: nowhere cannot be read"),
    ],
)
def test_a_mistake_is_told_with_its_flag(flags, message):
    with pytest.raises(Misuse) as told:
        settings(**flags)
    assert message in str(told.value)


def test_metadata_that_is_no_json_is_told_by_its_variable():
    with pytest.raises(Misuse, match="ISTIO_METAJSON_X holds no JSON"):
        settings({**POD, "ISTIO_METAJSON_X": "{"})


def test_names_of_flags_and_variables_are_used_once():
    for names in ([flag.name for flag in FLAGS], [flag.env for flag in FLAGS if flag.env]):
        assert len(names) == len(set(names))


@given(st.text(st.sampled_from("0123456789.hmsun-+µ "), max_size=12))
def test_durations_are_those_of_the_model(text):
    """Without signs, which no duration here has."""
    try:
        found = parse_duration(text)
    except ValueError:
        found = None
    try:
        meant = model_duration(text).total_seconds() if "-" not in text and "+" not in text else None
    except ValueError:
        meant = None
    if meant is not None and "µ" not in text and meant <= 366 * 86_400:
        assert found == pytest.approx(meant, abs=1e-5)
    else:
        assert found is None


@given(st.text(max_size=100))
def test_labels_are_read_from_whatever_the_file_says(text):
    assert all(isinstance(value, str) for value in parse_labels(text).values())


def test_metadata_of_the_environment_is_sorted_out():
    assert of_environment({"ISTIO_META_A": "1", "ISTIO_METAJSON_B": "[1]", "ISTIO_X": "no", "PATH": os.defpath}) == {
        "A": "1",
        "B": [1],
    }
