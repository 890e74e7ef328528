"""Manifests: as before, ours by their labels, accepted by a schema, and without a right they should not have."""

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.aio.client import ApiClient

from controlplane.install.manifests import Facts, crds, manifests
from controlplane.install.names import MANAGED_BY, PART_OF, Place
from controlplane.install.objects import in_order, ref_of, to_yaml
from controlplane.install.reading import read_values
from controlplane.install.rights import grant, rights
from tests.golden.files import cases, found
from tests.install import golden
from tests.local.meshes import REPOSITORY

CASES = cases("install")
Object = dict[str, Any]
MODELS = {
    "CustomResourceDefinition": "V1CustomResourceDefinition",
    "HorizontalPodAutoscaler": "V2HorizontalPodAutoscaler",
}


HERE = Place()
ALONE = Facts()


@cache
def of(profile: str = "default", *sets: str, place: Place = HERE, facts: Facts = ALONE) -> list[Object]:
    return manifests(read_values(profile, [], sets).values, place, facts)


def one(objects: list[Object], kind: str, name: str) -> Object:
    (obj,) = (obj for obj in objects if (obj["kind"], obj["metadata"]["name"]) == (kind, name))
    return obj


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_same_as_before(case: Path) -> None:
    """`make golden` writes it anew; look at the difference before committing it."""
    assert golden.outputs(case) == found(case)


def test_there_are_cases_for_all_profiles() -> None:
    assert {"default", "minimal", "demo", "canary"} == {case.name for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_object_says_that_it_is_ours(case: Path) -> None:
    for obj in golden.objects_of(case):
        labels = obj["metadata"]["labels"]
        assert (labels[MANAGED_BY], labels[PART_OF]) == ("lateen", "lateen"), ref_of(obj)
        assert "lateen.dev/component" in labels, ref_of(obj)
        assert (labels["lateen.dev/component"] == "base") == ("lateen.dev/revision" not in labels), ref_of(obj)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_the_clients_models_read_every_object_whole(case: Path) -> None:
    """A field that no model has, or of a type it does not have, is lost or refused on the way through it."""
    async with ApiClient() as client:
        for obj in golden.objects_of(case):
            if obj["kind"] == "CustomResourceDefinition":
                continue  # schemas have words that are Python's
            model = MODELS.get(obj["kind"], f"V1{obj['kind']}")
            text = json.dumps(obj)
            back = client.sanitize_for_serialization(client.deserialize(text, model, "application/json"))
            assert back == obj, ref_of(obj)


def test_crds_are_those_of_the_repository() -> None:
    written = [yaml.safe_load(path.read_text()) for path in sorted((REPOSITORY / "crds").glob("*.yaml"))]
    ours = {crd["metadata"]["name"]: crd for crd in crds()}
    assert {crd["metadata"]["name"] for crd in written} == ours.keys()
    for crd in written:
        assert crd["spec"] == ours[crd["metadata"]["name"]]["spec"]


def test_kubectl_finds_everything_it_needs_on_the_way_down() -> None:
    """Namespaces before what is in them, accounts before who uses them, workloads before what looks at them."""
    kinds = [obj["kind"] for obj in of()]
    order = ["Namespace", "CustomResourceDefinition", "ServiceAccount", "ConfigMap", "ClusterRole", "Service"]
    assert [kinds.index(kind) for kind in [*order, "Deployment"]] == sorted(
        kinds.index(kind) for kind in [*order, "Deployment"]
    )
    assert in_order(reversed(of())) == of()


def test_the_same_bytes_in_another_process() -> None:
    code = "import tests.install.test_manifests as t, sys; from controlplane.install.objects import to_yaml; sys.stdout.write(to_yaml(t.of()))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "77"},
        cwd=REPOSITORY,
    )
    assert done.stdout == to_yaml(of())
    assert "&id" not in done.stdout


# --- rights --------------------------------------------------------------------------------------------------------


def rules(objects: list[Object], *kinds: str) -> Iterator[tuple[Object, Object]]:
    for obj in objects:
        if obj["kind"] in kinds:
            for rule in obj["rules"]:
                yield obj, rule


def covers(rule: Object, group: str, resource: str) -> bool:
    return bool({group, "*"} & {*rule["apiGroups"]}) and bool({resource, "*"} & {*rule["resources"]})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_right_on_secrets_of_the_cluster(case: Path) -> None:
    for obj, rule in rules(golden.objects_of(case), "ClusterRole"):
        assert not covers(rule, "", "secrets"), (ref_of(obj), rule)
        assert "*" not in rule["apiGroups"], rule
        assert "*" not in rule["verbs"], rule
        # Rights that are others' rights: escalation in all its spellings.
        for group, resource in (
            ("rbac.authorization.k8s.io", "clusterroles"),
            ("rbac.authorization.k8s.io", "rolebindings"),
            ("", "serviceaccounts/token"),
            ("", "users"),
            ("", "pods/exec"),
        ):
            assert not covers(rule, group, resource), (ref_of(obj), rule)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_webhooks_are_changed_by_name_only(case: Path) -> None:
    objects = golden.objects_of(case)
    seen = 0
    for _, rule in rules(objects, "ClusterRole", "Role"):
        for resource in ("mutatingwebhookconfigurations", "validatingwebhookconfigurations"):
            if covers(rule, "admissionregistration.k8s.io", resource):
                seen += 1
                assert len(rule["resourceNames"]) == 1
                assert rule["resourceNames"][0].startswith("lateen-")
                assert {*rule["verbs"]} <= {"get", "list", "watch", "patch"}
    assert seen == 2


def test_what_is_written_in_the_whole_cluster() -> None:
    """All of it, on purpose: another right has to be written here too."""
    written = {
        (group, resource, verb): tuple(rule.get("resourceNames", ()))
        for _, rule in rules(rights(Place(), "istio-ca-root-cert"), "ClusterRole")
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        if verb not in ("get", "list", "watch") and "/status" not in resource
    }
    assert written == {
        ("", "events", "create"): (),
        ("", "events", "patch"): (),
        ("events.k8s.io", "events", "create"): (),
        ("events.k8s.io", "events", "patch"): (),
        ("authentication.k8s.io", "tokenreviews", "create"): (),
        ("", "configmaps", "create"): (),
        ("", "configmaps", "patch"): ("istio-ca-root-cert",),
        ("", "configmaps", "update"): ("istio-ca-root-cert",),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", "patch"): ("lateen-sidecar-injector",),
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations", "patch"): ("lateen-validator",),
    }


def test_in_its_own_namespace_it_writes_the_root_and_the_lease() -> None:
    (role,) = (obj for obj in rights(Place(), "x") if obj["kind"] == "Role")
    (create, root, lease) = role["rules"]
    assert (create["resources"], create["verbs"]) == (["secrets"], ["create"])
    assert (root["resourceNames"], root["verbs"]) == (["lateen-ca-secret"], ["get", "patch"])
    assert lease["resourceNames"] == ["lateen-leader"]


def test_a_grant_is_of_one_namespace_and_for_the_control_plane_alone() -> None:
    role, binding = grant(Place("mesh"), "shop")
    assert {obj["metadata"]["namespace"] for obj in (role, binding)} == {"shop"}
    assert role["rules"] == [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]}]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "lateend", "namespace": "mesh"}]


# --- pods ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_pods_conform_to_the_restricted_standard(case: Path) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards: what it asks of Pods like these."""
    for obj in golden.objects_of(case):
        if obj["kind"] != "Deployment":
            continue
        spec = obj["spec"]["template"]["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert {kind for volume in spec["volumes"] for kind in volume} - {"name"} <= {
            "configMap", "downwardAPI", "emptyDir", "projected", "secret"
        }  # fmt: skip
        for container in spec["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted == {volume["name"] for volume in spec["volumes"]}


def test_selectors_find_the_pods_and_never_those_of_another_revision() -> None:
    old, new = of(), of(place=Place(revision="canary"))
    for kind, select in (
        ("Service", lambda obj: obj["spec"]["selector"]),
        ("PodDisruptionBudget", lambda obj: obj["spec"]["selector"]["matchLabels"]),
        ("Deployment", lambda obj: obj["spec"]["selector"]["matchLabels"]),
    ):
        selector = select(one(old, kind, "lateend"))
        pods = one(old, "Deployment", "lateend")["spec"]["template"]["metadata"]["labels"]
        others = one(new, "Deployment", "lateend-canary")["spec"]["template"]["metadata"]["labels"]
        assert selector.items() <= pods.items()
        assert not selector.items() <= others.items()


def test_two_revisions_share_what_is_base_and_the_gateway_alone() -> None:
    shared = {ref_of(obj) for obj in of()} & {ref_of(obj) for obj in of(place=Place(revision="canary"))}
    components = {obj["metadata"]["labels"]["lateen.dev/component"] for obj in of() if ref_of(obj) in shared}
    assert components == {"base", "ingress-gateway"}
    assert [obj for obj in of() if obj["metadata"]["labels"]["lateen.dev/component"] == "base"] == [
        obj for obj in of(place=Place(revision="canary")) if obj["metadata"]["labels"]["lateen.dev/component"] == "base"
    ]


def test_users_labels_never_change_what_selects() -> None:
    changed = of("default", "controlPlane.labels.app=mine", r"controlPlane.labels.lateen\.dev/revision=mine")
    labels = one(changed, "Deployment", "lateend")["spec"]["template"]["metadata"]["labels"]
    assert (labels["app"], labels["lateen.dev/revision"]) == ("lateend", "default")


def test_istios_root_namespace_is_left_to_an_istiod() -> None:
    alone, beside = (
        json.loads(one(of(facts=f), "ConfigMap", "lateen")["data"]["mesh"]) for f in (Facts(), Facts(istiod=True))
    )
    assert alone["rootNamespaces"] == ["lateen-system", "istio-system"]
    assert beside["rootNamespaces"] == ["lateen-system"]
    beside_bundle = json.dumps(of(facts=Facts(istiod=True)))
    assert "istio-ca-root-cert" not in beside_bundle
    assert beside_bundle.count("lateen-ca-root-cert") == 4  # the right, both settings, the gateway's mount
    own = of("default", "meshConfig.rootNamespaces=[a, b]")
    assert json.loads(one(own, "ConfigMap", "lateen")["data"]["mesh"])["rootNamespaces"] == ["a", "b"]


def test_a_change_of_settings_is_a_rollout() -> None:
    before, after = of(), of("default", "meshConfig.accessLogFile=/dev/stdout")
    template = "template"
    assert (
        one(before, "Deployment", "lateend")["spec"][template] != one(after, "Deployment", "lateend")["spec"][template]
    )
    name = "istio-ingressgateway"
    assert one(before, "Deployment", name) == one(after, "Deployment", name)


def test_a_budget_that_would_only_keep_nodes_from_being_drained_is_not_made() -> None:
    kinds = {
        obj["kind"] for obj in of("default", "controlPlane.autoscaling.minReplicas=1", "ingressGateway.enabled=false")
    }
    assert "PodDisruptionBudget" not in kinds
    assert "HorizontalPodAutoscaler" in kinds
