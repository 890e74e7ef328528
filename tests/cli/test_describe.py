"""`lateen describe`, `lateen analyze` of manifests: what acts, what is wrong, and how the exit code says so."""

import json
from pathlib import Path
from typing import Any

import pytest

from controlplane.cli.main import run

SHOP = """
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec:
  selector: {app: cart}
  ports:
  - {name: http-web, port: 80, targetPort: web}
  - {name: odd, port: 81, targetPort: 9001}
  - {name: x, port: 82, appProtocol: grpc}
  - {name: dns, port: 53, protocol: UDP}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart, namespace: shop}
spec:
  selector: {matchLabels: {app: cart}}
  template:
    metadata: {labels: {app: cart, version: v1}}
    spec:
      serviceAccountName: keeper
      containers: [{name: c, image: i, ports: [{name: web, containerPort: 8080}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, namespace: shop}
spec:
  hosts: [cart]
  http:
  - match: [{headers: {tester: {exact: "yes"}}}]
    route: [{destination: {host: cart, subset: v2, port: {number: 80}}}]
  - route:
    - {destination: {host: cart, subset: v1, port: {number: 80}}, weight: 90}
    - {destination: {host: cart, subset: v2, port: {number: 80}}, weight: 10}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: cart, namespace: shop}
spec:
  host: cart
  trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: stranger, namespace: elsewhere}
spec: {hosts: [cart.shop.svc.cluster.local], http: [{route: [{destination: {host: cart.shop.svc.cluster.local}}]}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: shop}
spec:
  selector: {matchLabels: {app: cart}}
  mtls: {mode: STRICT}
  portLevelMtls: {"8080": {mode: PERMISSIVE}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: front, namespace: shop}
spec: {selector: {matchLabels: {app: cart}}, rules: [{from: [{source: {namespaces: [front]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: other, namespace: shop}
spec: {selector: {matchLabels: {app: other}}}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop.yaml").write_text(SHOP)
    return tmp_path


def document(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert run([*arguments, "-o", "json"]) == code
    return json.loads(capsys.readouterr().out)


def test_a_service_with_all_that_acts_on_it(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "describe", "service", "shop/cart", "-f", str(shop))
    ports = {port["number"]: (port["protocol"], port["declared"], port["mutual_tls"]) for port in found["ports"]}
    assert ports == {
        80: ("http", "name http-web", "permissive"),
        81: ("detected", "", "strict"),
        82: ("grpc", "appProtocol grpc", "strict"),
        53: ("UDP", "name dns", ""),
    }
    assert {rule["object"]: rule["does"] for rule in found["rules"]} == {
        "VirtualService shop/cart": "routes calls of the mesh: if it matches, 100% cart/v2 | 90% cart/v1, 10% cart/v2",
        "VirtualService elsewhere/stranger": "routes calls from elsewhere: 100% cart.shop.svc.cluster.local",
        "DestinationRule shop/cart": "for calls of the mesh; TLS ISTIO_MUTUAL; subset v1: 1 of 1 workloads; "
        "subset v2: 0 of 1 workloads",
        "PeerAuthentication shop/strict": "mutual TLS STRICT",
        "AuthorizationPolicy shop/front": "ALLOW, 1 rules",
    }
    assert [one["name"] for one in found["workloads"]] == ["cart"]
    assert {(one["code"], one["object"]) for one in found["problems"]} >= {
        ("NotOwner", "VirtualService elsewhere/stranger")
    }


def test_a_pod_by_its_deployment_its_services_and_its_identity(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "describe", "pod", "cart", "-n", "shop", "-f", str(shop))
    assert found["kind"] == "Deployment"
    assert found["facts"]["identity"] == "cluster.local/ns/shop/sa/keeper"
    assert found["facts"]["mutual TLS"] == "strict"
    assert {port["service"] for port in found["ports"]} == {"cart"}
    assert "AuthorizationPolicy shop/other" not in {rule["object"] for rule in found["rules"]}


def test_the_table_has_every_part(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["describe", "service", "cart", "-n", "shop", "-f", str(shop)]) == 0
    printed = capsys.readouterr().out
    for words in ("WHAT       IS", "PORT", "MUTUAL TLS", "WORKLOAD", "WHAT ACTS", "LEVEL"):
        assert words in printed


@pytest.mark.parametrize("what", ["service", "pod"])
def test_what_is_not_there_is_exit_code_1(what: str, shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["describe", what, "shop/nothing", "-f", str(shop)]) == 1
    assert capsys.readouterr().err == f"lateen: there is no {what} shop/nothing\n"


@pytest.mark.parametrize(("level", "code"), [("error", 1), ("warning", 1), ("info", 1), ("never", 0)])
def test_analyze_says_by_its_exit_code_how_bad_it_is(
    level: str, code: int, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "wrong.yaml").write_text(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: gone, namespace: shop}\n"
        "spec: {hosts: [cart2], http: [{route: [{destination: {host: nowhere}}]}]}\n"
    )
    found = document(capsys, "analyze", "-f", str(shop), "--fail-on", level, code=code)
    wrong = [one for one in found if one["object"] == "VirtualService shop/gone"]
    assert "ReferencedResourceNotFound" in {one["code"] for one in wrong}


def test_what_is_only_a_warning_fails_only_when_asked_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "odd.yaml").write_text(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: odd, namespace: shop}\n"
        "spec: {hosts: [odd.example], http: [{directResponse: {status: 200}, timeout: 1s}]}\n"
    )
    found = document(capsys, "analyze", "-f", str(tmp_path))
    assert {one["level"] for one in found} <= {"warning", "info"}
    assert document(capsys, "analyze", "-f", str(tmp_path), "--fail-on", "info", code=1 if found else 0) == found


def test_a_rule_without_a_gateway_pod_is_judged_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "edge.yaml").write_text(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: shop}\n"
        "spec:\n  selector: {istio: edge}\n"
        "  servers: [{port: {number: 443, name: s, protocol: HTTPS}, hosts: ['*'], "
        "tls: {mode: SIMPLE, credentialName: none}}]\n"
    )
    found = document(capsys, "analyze", "-f", str(tmp_path), code=1)
    assert "InvalidGatewayCredential" in {one["code"] for one in found}


def test_codes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "NotOwner" in document(capsys, "analyze", "--codes")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("analyze --fail-on bad", "--fail-on bad: there are error, warning, info, never"),
        ("analyze --live", "--live needs -f"),
        ("wait --for luck", "--for luck: there are delivered, delete"),
        ("wait --for delete", "--for delete needs KIND/NAME"),
        ("wait cart", "'cart': KIND/NAME was expected"),
        ("wait deployment/cart", "deployment: nothing that a proxy is sent is made of such a kind"),
        ("wait vs/cart --timeout soon", "--timeout soon: "),
    ],
)
def test_misuse_is_one_line(arguments: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments.split()) == 2
    assert words in capsys.readouterr().err
