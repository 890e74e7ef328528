"""`lateen inject`: manifests in, the same manifests with the sidecar in their Pods out."""

import io
import json
from pathlib import Path

import pytest
import yaml

from controlplane.cli.main import run
from controlplane.install.values import Values

TEMPLATE = "{metadata: {labels: {app: a}}, spec: {containers: [{name: a, image: 'a:1'}]}}"
KINDS = {
    "Deployment": f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: a}}\nspec: {{template: {TEMPLATE}}}",
    "StatefulSet": f"apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{name: a}}\nspec: {{template: {TEMPLATE}}}",
    "DaemonSet": f"apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: a}}\nspec: {{template: {TEMPLATE}}}",
    "ReplicaSet": f"apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {{name: a}}\nspec: {{template: {TEMPLATE}}}",
    "ReplicationController": f"apiVersion: v1\nkind: ReplicationController\nmetadata: {{name: a}}\nspec: {{template: {TEMPLATE}}}",
    "Job": f"apiVersion: batch/v1\nkind: Job\nmetadata: {{name: a}}\nspec: {{template: {TEMPLATE}}}",
    "CronJob": f"apiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: a}}\nspec: {{jobTemplate: {{spec: {{template: {TEMPLATE}}}}}}}",
    "Pod": "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {app: a}}\nspec: {containers: [{name: a, image: 'a:1'}]}",
}
PATHS = {"Pod": (), "CronJob": ("spec", "jobTemplate", "spec", "template")}


@pytest.fixture
def injected(tmp_path, capsys):
    """Runs it on a text: code, documents, what was said."""

    def do(text, *more):
        file = tmp_path / "in.yaml"
        file.write_text(text)
        code = run(["inject", "-f", str(file), *more])
        told = capsys.readouterr()
        return code, list(yaml.safe_load_all(told.out)), told.err.splitlines()

    return do


def below(document, *keys):
    for key in keys:
        document = document[key]
    return document


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_that_has_pods(injected, kind):
    code, (document,), said = injected(KINDS[kind])
    assert (code, said) == (0, [])
    template = below(document, *PATHS.get(kind, ("spec", "template")))
    assert [one["name"] for one in template["spec"]["initContainers"]] == ["istio-init", "istio-proxy"]
    variables = {one["name"]: one.get("value") for one in template["spec"]["initContainers"][1]["env"]}
    assert variables["ISTIO_META_WORKLOAD_NAME"] == "a"
    again = injected(yaml.safe_dump(document))
    assert again[1] == [document]
    assert again[2] == [f"lateen: {kind} default/a: not injected: it has a proxy already"]


def test_streams_lists_and_what_is_no_workload(injected):
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: None, when: 2024-01-01}"
    as_list = json.dumps(
        {"apiVersion": "v1", "kind": "List", "items": [yaml.safe_load(KINDS["Job"]), {"kind": "Other"}]}
    )
    text = "\n---\n".join([service, "# nothing", KINDS["Deployment"], as_list])
    code, documents, said = injected(text)
    assert (code, said) == (0, [])
    assert [document["kind"] for document in documents] == ["Service", "Deployment", "List"]
    assert documents[0]["spec"] == {"clusterIP": "None", "when": "2024-01-01"}
    assert "initContainers" in below(documents[2], "items", 0, "spec", "template", "spec")
    assert documents[2]["items"][1] == {"kind": "Other"}
    foreign = KINDS["Deployment"].replace("apps/v1", "example.com/v1")
    assert injected(foreign)[1] == [yaml.safe_load(foreign)]


def test_labels_of_namespaces_in_the_manifests_count(injected):
    def with_label(label):
        namespace = f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop, labels: {{{label}}}}}"
        return injected(f"{namespace}\n---\n{KINDS['Pod']}", "-n", "shop")

    assert "initContainers" in with_label("istio-injection: enabled")[1][1]["spec"]
    code, documents, said = with_label("istio-injection: disabled")
    assert code == 0
    assert "initContainers" not in documents[1]["spec"]
    assert said == ["lateen: Pod shop/a: not injected: its namespace is labelled istio-injection=disabled"]


def test_a_refusal_prints_nothing_to_apply(injected):
    bad = KINDS["Deployment"].replace(
        "metadata: {labels: {app: a}}", "metadata: {annotations: {sidecar.istio.io/proxyCPU: x}}"
    )
    code, documents, said = injected(f"{KINDS['Pod']}\n---\n{bad}")
    assert code == 1
    assert documents == []
    (line,) = said
    assert line.startswith("lateen: Deployment default/a: refused: sidecar.istio.io/proxyCPU 'x' is no quantity")


def test_what_stands_on_the_workload_instead_of_its_template_is_told(injected):
    misplaced = (
        "metadata: {name: a, annotations: {sidecar.istio.io/proxyCPU: 1m}, labels: {sidecar.istio.io/inject: 'false'}}"
    )
    code, _, said = injected(KINDS["Deployment"].replace("metadata: {name: a}", misplaced))
    assert code == 0
    assert [line.split(": warning: ")[1].split(" ")[0] for line in said] == [
        "sidecar.istio.io/proxyCPU",
        "sidecar.istio.io/inject",
    ]
    assert all("spec.template.metadata" in line for line in said)


def test_settings_from_options_a_file_and_the_mesh(injected, tmp_path):
    config, mesh = tmp_path / "config.yaml", tmp_path / "mesh.yaml"
    config.write_text("kind: ConfigMap\ndata:\n  injection: |\n    image: other:1\n    logLevel: debug\n")
    mesh.write_text("trustDomain: example.org\ndefaultConfig: {concurrency: 7}\n")
    options = ("--config", str(config), "--mesh-config", str(mesh), "--no-native-sidecars", "--image", "mine:2")
    code, (pod,), _ = injected(KINDS["Pod"], *options)
    assert code == 0
    proxy = pod["spec"]["containers"][1]
    assert proxy["image"] == "mine:2"
    assert "--log-level=debug" in proxy["args"]
    variables = {one["name"]: one.get("value") for one in proxy["env"]}
    assert variables["TRUST_DOMAIN"] == "example.org"
    assert variables["PROXY_CONFIG"] == '{"concurrency":7}'


def test_without_settings_it_is_as_for_a_plain_installation(injected):
    _, (pod,), _ = injected(KINDS["Pod"], "--revision", "canary")
    rules, proxy = pod["spec"]["initContainers"]
    variables = {one["name"]: one.get("value") for one in proxy["env"]}
    assert rules["image"] == proxy["image"] == Values().image
    assert variables["CA_ADDR"] == "lateend-canary.lateen-system.svc:15013"
    assert "--server-name=lateend-canary.lateen-system.svc" in proxy["args"]
    assert pod["metadata"]["labels"]["istio.io/rev"] == "canary"


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("imag: x", "imag"),
        ("logLevel: loud", "logLevel 'loud'"),
        ("- 1", "one mapping of fields"),
        ("image: [", "config.yaml:"),
    ],
)
def test_settings_that_are_none_are_one_line(injected, tmp_path, config, reason):
    file = tmp_path / "config.yaml"
    file.write_text(config)
    code, documents, said = injected(KINDS["Pod"], "--config", str(file))
    assert (code, documents, len(said)) == (2, [], 1)
    assert reason in said[0]


def test_standard_input_and_json(monkeypatch, capsys):
    monkeypatch.setattr("controlplane.cli.inject.read_text", lambda _: io.StringIO(KINDS["Pod"]).read())
    assert run(["inject", "-f", "-", "-o", "json"]) == 0
    assert "initContainers" in json.loads(capsys.readouterr().out)["spec"]


def test_a_directory_and_nothing_at_all(tmp_path: Path, capsys):
    (tmp_path / "a.yaml").write_text(KINDS["Pod"])
    (tmp_path / "Lateenfile").write_text("run: {}")
    assert run(["inject", "-f", str(tmp_path)]) == 0
    assert len(list(yaml.safe_load_all(capsys.readouterr().out))) == 1
    assert run(["inject", "-f", str(tmp_path / "none.yaml")]) == 2
    assert "no such file" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run(["inject", "-f", str(tmp_path / "empty")]) == 2
