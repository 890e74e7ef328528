"""One file to objects: what stands in it, under which name, and what is said of the rest."""

import pytest

from controlplane.model.problem import Level, ObjectRef
from controlplane.sources.files.parser import Place, parse

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"


def refs(text: str, path: str = "x.yaml") -> list[str]:
    return [str(document.ref) for document in parse(text, path).documents]


def test_objects_without_a_namespace_are_in_default_and_say_so_themselves() -> None:
    (document,) = parse(SERVICE, "x.yaml").documents
    assert document.ref == ObjectRef("", "Service", "default", "a")
    assert document.manifest["metadata"] == {"name": "a", "namespace": "default"}


def test_cluster_wide_kinds_have_no_namespace_even_when_one_is_written() -> None:
    text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, namespace: x}\n"
    (document,) = parse(text, "x.yaml").documents
    assert document.ref == ObjectRef("", "Namespace", "", "shop")
    assert "namespace" not in document.manifest["metadata"]


def test_the_version_is_no_part_of_the_name() -> None:
    versions = ["networking.istio.io/v1", "networking.istio.io/v1alpha3"]
    texts = [f"apiVersion: {version}\nkind: Gateway\nmetadata: {{name: g}}" for version in versions]
    first, second = (parse(text, "x.yaml").documents[0].ref for text in texts)
    assert first == second == ObjectRef("networking.istio.io", "Gateway", "default", "g")


def test_lists_of_both_sorts_are_unrolled() -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: p}}\n"
    typed = "apiVersion: v1\nkind: ServiceList\nitems:\n- metadata: {name: s}\n"
    assert refs(f"{text}---\n{typed}") == ["Pod default/p", "Service default/s"]


def test_each_document_knows_its_place() -> None:
    parsed = parse(f"# head\n---\n{SERVICE}---\n{SERVICE}", "dir/x.yaml")
    assert [str(document.place) for document in parsed.documents] == ["dir/x.yaml:3:1", "dir/x.yaml:7:1"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- 1", "not a Kubernetes object"),
        ("just text", "not a Kubernetes object"),
        ("kind: Service\nmetadata: {name: a}", "apiVersion is missing"),
        ("apiVersion: v1\nkind: 5\nmetadata: {name: a}", "kind is missing"),
        ("apiVersion: v1\nkind: Service", "Service without metadata"),
        ("apiVersion: v1\nkind: Service\nmetadata: []", "Service without metadata"),
        ("apiVersion: v1\nkind: Service\nmetadata: {generateName: a}", "without metadata.name"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: 5}", "without metadata.name"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: []}", "namespace is not a string"),
        ("apiVersion: v1\nkind: List\nitems: [5]", "not a Kubernetes object"),
    ],
)
def test_what_is_no_object_is_a_problem_and_its_neighbours_are_not_touched(text: str, words: str) -> None:
    parsed = parse(f"{SERVICE}---\n{text}\n", "x.yaml")
    assert [document.ref.name for document in parsed.documents] == ["a"]
    (broken,) = parsed.broken
    assert words in broken.message
    assert broken.place.line >= 5


def test_a_syntax_error_names_file_line_and_column() -> None:
    parsed = parse(f"{SERVICE}---\na: [1,\n", "dir/x.yaml")
    assert parsed.documents == ()
    problem = parsed.broken[0].problem()
    assert problem.code == "UnreadableFile"
    assert problem.level == Level.ERROR
    assert problem.message.startswith("dir/x.yaml:6:1: ")
    assert problem.origin.ref == ObjectRef("", "File", "", "dir/x.yaml")


def test_a_place_without_a_line_is_the_file() -> None:
    assert str(Place("x.yaml")) == "x.yaml"


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ("{name: 'A b/c'}", "Service 'A b/c': metadata.name is no name"),
        ("{name: 'a\\n.b'}", "metadata.name is no name"),
        ("{name: x, namespace: ../../etc}", "Service 'x': metadata.namespace is '../../etc'; use lower-case letters"),
        ("{name: x, namespace: a.b}", "metadata.namespace is 'a.b'"),
    ],
)
def test_what_no_api_server_would_call_an_object_is_no_name(metadata: str, words: str) -> None:
    parsed = parse(f"apiVersion: v1\nkind: Service\nmetadata: {metadata}\n", "x.yaml")
    assert parsed.documents == ()
    (broken,) = parsed.broken
    assert broken.place.line == 1
    assert words in broken.message


def test_names_of_kinds_with_rules_of_their_own_are_left_alone() -> None:
    text = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: 'system:Node'}\n"
    (document,) = parse(text, "x.yaml").documents
    assert document.ref.name == "system:Node"
