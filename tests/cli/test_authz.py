"""`lateen authz check` over files: who is meant, what is answered, and how a script hears it."""

import json
from pathlib import Path
from typing import Any

import pytest

from controlplane.cli.main import run

MESH = """
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {selector: {app: cart}, ports: [{name: http, port: 80, targetPort: web}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart-v1, namespace: shop}
spec:
  template:
    metadata: {labels: {app: cart}}
    spec: {serviceAccountName: cart, containers: [{name: c, ports: [{name: web, containerPort: 8080}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: front-5d9f4-0, namespace: shop, labels: {app: front}}
spec: {serviceAccountName: storefront, containers: []}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers, namespace: shop}
spec:
  selector: {matchLabels: {app: cart}}
  rules:
  - from: [{source: {serviceAccounts: [storefront]}}]
    to: [{operation: {methods: [GET], ports: ["8080"], paths: ["/items/{*}"]}}]
  - from: [{source: {principals: [other.example/ns/x/sa/y]}}]
  - when:
    - {key: "request.headers[x-pass]", values: [open]}
  - when:
    - {key: "request.auth.claims[realm][roles]", values: [admin]}
  - to: [{operation: {hosts: [status.example]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: tried, namespace: shop, annotations: {istio.io/dry-run: "true"}}
spec: {action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]}
"""


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    (tmp_path / "mesh.yaml").write_text(MESH)
    return tmp_path


def check(mesh: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = run(["authz", "check", "-f", str(mesh), "-o", "json", "--to", "shop/cart", *arguments])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ("--from shop/front --path /items/3", 0),
        ("--from shop/storefront --path /items/3?all=1", 0),
        ("--from cluster.local/ns/shop/sa/storefront --path /items/3", 0),
        ("--from spiffe://cluster.local/ns/shop/sa/storefront --path /items/3 --port 80", 0),
        ("--from spiffe://cluster.local/ns/shop/sa/storefront --path /items/3 --port 8080", 0),
        ("--from other.example/ns/x/sa/y --method DELETE", 1),
        ("--from other.example/ns/x/sa/y --tcp", 1),
        ("--from - --header X-Pass=open", 2),
        ('--from - --claim realm={"roles":["user","admin"]}', 3),
        ("--from - --host STATUS.example", 4),
    ],
)
def test_what_is_allowed_says_by_which_rule(mesh, capsys, arguments, rule):
    code, answer = check(mesh, capsys, *arguments.split())
    assert (code, answer["allowed"]) == (0, True)
    assert answer["by"] == {"namespace": "shop", "name": "readers", "rule": rule}


@pytest.mark.parametrize(
    ("arguments", "rule", "failed"),
    [
        ("--from shop/front --path /items/3 --method POST", 0, {"to[0].operation.methods": ("GET", "POST")}),
        ("--from shop/front --path /items/3/4", 0, {"to[0].operation.paths": ("/items/{*}", "/items/3/4")}),
        ("--from shop/cart-v1 --path /items/3", 0, {"from[0].source.serviceAccounts": ("storefront", "shop/cart")}),
        ("--from shop/front --path /items/3 --port 9090", 0, {"to[0].operation.ports": ("8080", "9090")}),
        ("--from - --method PUT", 1, {"from[0].source.principals": ("other.example/ns/x/sa/y", "none")}),
        ("--from - --tcp", 1, {"from[0].source.principals": ("other.example/ns/x/sa/y", "none")}),
    ],
)
def test_what_is_denied_says_what_came_closest(mesh, capsys, arguments, rule, failed):
    code, answer = check(mesh, capsys, *arguments.split())
    assert (code, answer["allowed"], answer["by"]) == (1, False, None)
    nearest = answer["nearest"]
    assert (nearest["name"], nearest["rule"]) == ("readers", rule)
    assert {one["field"]: (one["wanted"], one["found"]) for one in nearest["failed"]} == failed


def test_dry_runs_are_told_apart(mesh, capsys):
    _, answer = check(mesh, capsys, "--from", "shop/front", "--path", "/items/3")
    by = {"namespace": "shop", "name": "tried", "rule": 0}
    assert answer["dryRuns"] == [{"action": "DENY", "allowed": False, "by": by}]


def test_the_table_is_for_people(mesh, capsys):
    code = run(["authz", "check", "-f", str(mesh), "--from", "shop/front", "--to", "shop/cart", "--path", "/items/3/4"])
    out = capsys.readouterr().out
    assert code == 1
    assert out.startswith("ANSWER")
    assert "denied   cluster.local/ns/shop/sa/storefront   8080" in out
    assert "to[0].operation.paths" in out


def test_labels_say_what_would_be_there(mesh, capsys):
    arguments = ["authz", "check", "-f", str(mesh), "-o", "json", "--from", "-", "--to", "shop/new"]
    assert run(arguments) == 2
    assert "--labels" in capsys.readouterr().err
    assert run([*arguments, "--labels", "app=new"]) == 0
    assert json.loads(capsys.readouterr().out)["why"] == "no policy denies it, and none has to allow it"


def test_settings_count(mesh, capsys):
    (mesh / "mesh-config").write_text("trustDomain: mesh.example\ntrustDomainAliases: [other.example]\n")
    arguments = ("--mesh-config", str(mesh / "mesh-config"), "--from", "mesh.example/ns/x/sa/y", "--method", "PUT")
    code, answer = check(mesh, capsys, *arguments)
    assert (code, answer["by"]["rule"]) == (0, 1)


def test_a_policy_with_mistakes_is_told_of(mesh, capsys):
    bad = MESH.replace('ports: ["8080"]', "ports: [http]")
    (mesh / "mesh.yaml").write_text(bad)
    assert (
        run(["authz", "check", "-f", str(mesh), "--from", "shop/front", "--to", "shop/cart", "--path", "/items/3"]) == 1
    )
    assert "not a port number" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--from front --to shop/cart", "--from 'front': NAMESPACE/NAME"),
        ("--from a/b/c --to shop/cart", "--from 'a/b/c': NAMESPACE/NAME"),
        ("--from - --to cart", "--to 'cart': NAMESPACE/NAME"),
        ("--from - --to shop/cart --header x", "'x' is not NAME=VALUE"),
        ("--from - --to shop/cart --claim a=[", "--claim a:"),
        ("--from - --to shop/cart --source-ip here", "--source-ip:"),
    ],
)
def test_what_makes_no_sense_is_refused_with_one_line(mesh, capsys, arguments, words):
    assert run(["authz", "check", "-f", str(mesh), *arguments.split()]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
