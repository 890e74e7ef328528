"""Who is given which certificate."""

import pytest
import yaml

from controlplane.explain.resources import decode as decode_resources
from controlplane.snapshot import types
from tests.secrets import tls_secret
from tests.world import World, service

RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: default}
spec: {host: web, trafficPolicy: {tls: %s}}
"""
FILES = "{mode: MUTUAL, clientCertificate: /a/c.pem, privateKey: /a/k.pem, caCertificates: /a/ca.pem}"
CERTIFICATE, BUNDLE = "file-cert:/a/c.pem~/a/k.pem", "file-root:/a/ca.pem"
SIDECAR = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: served, namespace: default}
spec:
  workloadSelector: {labels: {app: web}}
  ingress:
  - port: {number: 9080, name: https, protocol: HTTPS}
    tls: {mode: SIMPLE, serverCertificate: /a/c.pem, privateKey: /a/k.pem}
"""
EDGE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [shop.example.com]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge, namespace: default}
spec: {hosts: [shop.example.com], gateways: [edge], http: [{route: [{destination: {host: web}}]}]}
"""


def test_files_of_a_rule_come_as_secrets_to_whoever_calls():
    world = World().apply(service("web")).apply(EDGE).apply(RULE % FILES)
    for client in (world.sidecar(), world.sidecar("other"), world.gateway()):
        assert client.names(types.SECRET) == [CERTIFICATE, BUNDLE]
    world.delete("DestinationRule", "web")
    assert world.sidecar().names(types.SECRET) == []


def test_files_of_an_ingress_listener_come_as_secrets_too():
    world = World().apply(service("web")).apply(SIDECAR)
    client = world.sidecar(labels={"app": "web"})
    assert client.names(types.SECRET) == [CERTIFICATE]
    assert world.sidecar(labels={"app": "other"}).names(types.SECRET) == []
    world.apply(RULE % FILES)  # the same file for both
    assert client.names(types.SECRET) == [CERTIFICATE, BUNDLE]
    world.delete("DestinationRule", "web")
    assert client.names(types.SECRET) == [CERTIFICATE]


TWO = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 443, name: bad, protocol: HTTPS}, hosts: [bad.example.com]}
  - {port: {number: 443, name: one, protocol: HTTPS}, hosts: [one.example.com], tls: {mode: SIMPLE, credentialName: one}}
  - {port: {number: 443, name: two, protocol: HTTPS}, hosts: [two.example.com], tls: {mode: MUTUAL, %s}}
  - {port: {number: 443, name: tls, protocol: TLS}, hosts: [tls.example.com], tls: {mode: PASSTHROUGH}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: tls, namespace: default}
spec:
  hosts: [tls.example.com]
  gateways: [edge]
  tls: [{match: [{sniHosts: [tls.example.com]}], route: [{destination: {host: web}}]}]
"""


@pytest.mark.parametrize(
    ("credentials", "fields"),
    [
        ("credentialName: gone", ["credentialName"]),  # for its certificate and for its authorities
        ("credentialNames: [one, gone]", ["credentialNames[0]", "credentialNames[1]"]),
        ("credentialName: one, caCertCredentialName: gone", ["caCertCredentialName"]),
    ],
)
def test_a_missing_secret_is_told_to_the_server_that_names_it_and_to_no_other(credentials, fields):
    world = World().apply(service("web")).apply(TWO % credentials)
    world.apply(yaml.safe_dump(tls_secret("one", "istio-ingress")))
    world.gateway()
    told = [problem.origin for problem in world.problems() if problem.code == "InvalidGatewayCredential"]
    assert sorted(str(origin) for origin in told if origin.ref.kind != "Secret") == [
        f"Gateway default/edge spec.servers[2].tls.{field}" for field in fields
    ]


def test_kubernetes_secrets_are_for_gateways():
    world = World().apply(service("web")).apply(EDGE).apply(RULE % "{mode: MUTUAL, credentialName: own}")
    world.apply(yaml.safe_dump(tls_secret("own", "istio-ingress", ca=True)))
    gateway = world.gateway()
    assert gateway.names(types.SECRET) == ["kubernetes://own", "kubernetes://own-cacert"]
    assert [(one.code, one.level) for one in world.problems()] == [("SecretsAreForGateways", "info")]
    sidecar = world.sidecar()
    assert sidecar.names(types.SECRET) == []
    assert "outbound|80||web.default.svc.cluster.local" in decode_resources(sidecar.resources())[0].clusters
