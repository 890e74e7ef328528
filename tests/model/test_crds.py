"""The CRDs say what the model says, and nothing else."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.model import crd
from controlplane.model.kinds import BY_NAME, MESH_KINDS
from controlplane.model.problem import Level
from tests.model.documents import decode, documents, named
from tests.model.refused import REFUSED, document_of
from tests.model.schema import refusals

CRDS = Path(__file__).parents[2] / "crds"
COST_LIMIT = 10_000_000  # what an API server lets one CEL rule cost
MAX_APPLIED = 262_144  # bytes `kubectl apply` can put into its annotation


def schema_of(document: dict[str, Any]) -> dict[str, Any]:
    group, version = document["apiVersion"].split("/")
    made = crd.crd(BY_NAME[(group, document["kind"])])
    served = next(one for one in made["spec"]["versions"] if one["name"] == version)
    schema: dict[str, Any] = served["schema"]["openAPIV3Schema"]
    return schema


def test_the_files_are_what_the_model_prints():
    written = {path.name: path.read_text() for path in CRDS.glob("*.yaml")}
    assert written == crd.files(), "run `make crds`"


def test_writing_removes_what_is_gone(tmp_path):
    (tmp_path / "old.yaml").write_text("")
    crd.main([str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == set(crd.files())


@pytest.mark.parametrize("kind", MESH_KINDS, ids=lambda kind: kind.kind)
def test_every_crd_is_complete(kind):
    made = crd.crd(kind)
    versions = made["spec"]["versions"]
    names = ["v1", "v1beta1"] if kind.group == "security.istio.io" else ["v1", "v1beta1", "v1alpha3"]
    assert [version["name"] for version in versions] == names
    assert [version["storage"] for version in versions] == [name == "v1" for name in names]
    for version in versions:
        assert version["subresources"] == {"status": {}}
        assert [column["name"] for column in version["additionalPrinterColumns"]][-3:] == [
            "Accepted",
            "Programmed",
            "Age",
        ]
    assert len(str(made)) < MAX_APPLIED
    assert yaml.safe_load(crd.files()[f"{kind.group}_{kind.plural}.yaml"]) == made


@pytest.mark.parametrize("kind", MESH_KINDS, ids=lambda kind: kind.kind)
def test_every_field_is_described(kind):
    schema = crd.crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    bare = [path for path, node in _properties(schema) if not node.get("description", "").endswith(".")]
    assert bare == []


@pytest.mark.parametrize("kind", MESH_KINDS, ids=lambda kind: kind.kind)
def test_an_api_server_can_afford_the_cel_rules(kind):
    """Below a list without maxItems it estimates a million calls, and refuses the CRD."""
    schema = crd.crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for path, rule, times in _cel_rules(schema):
        assert times is not None, f"{path}: a CEL rule below an unbounded list"
        loops = 256 * 64 if ".all(" in rule else 1  # a list of at most 256 strings of at most 64 characters
        assert times * len(rule) * loops < COST_LIMIT, path


@pytest.mark.parametrize(
    "document", documents() + documents(deprecated=True), ids=lambda one: f"{one['kind']}-{one['metadata']['name']}"
)
def test_a_good_document_is_taken_whole(document):
    assert refusals(schema_of(document), document) == []


def test_what_the_crds_refuse_is_refused_here_too():
    """Mutate good documents: nothing that decodes without an error may be refused (or cut) by an API server."""
    refused = 0
    for document in documents():
        schema = schema_of(document)
        for changed in _mutations(document):
            because = refusals(schema, changed)
            if because:
                refused += 1
                errors = [one for one in decode(changed).problems if one.level is not Level.INFO]
                assert errors, f"{because} in {changed}"
    assert refused > 300


EXCLUSIVE = [
    ("every-match", ["http", 0, "match", 0, "uri"], {"exact": "/a", "prefix": "/b"}),
    ("every-match", ["http", 0, "redirect"], {"uri": "/x"}),
    ("every-match", ["http", 0, "mirrors"], [{"destination": {"host": "x"}}]),
    ("every-match", ["http", 0, "rewrite", "uriRegexRewrite"], {"match": "a", "rewrite": "b"}),
    ("every-match", ["http", 0, "fault"], {}),
    ("every-match", ["http", 0, "fault", "abort", "grpcStatus"], "OK"),
    ("every-action", ["http", 2, "directResponse", "body", "bytes"], "aGk="),
    ("every-action", ["http", 0, "redirect", "derivePort"], "FROM_REQUEST_PORT"),
    ("every-action", ["http", 0, "redirect", "prefixRewrite"], "/x"),
    ("every-block", ["trafficPolicy", "loadBalancer", "consistentHash"], {"useSourceIp": True}),
    ("every-block", ["subsets", 1, "trafficPolicy", "loadBalancer", "consistentHash", "httpHeaderName"], "x"),
    ("every-block", ["trafficPolicy", "tls", "credentialName"], "x"),
    ("every-server", ["servers", 1, "tls", "credentialName"], "x"),
    ("static", ["workloadSelector"], {"labels": {"a": "b"}}),
    ("static", ["resolution"], "DNS"),
    ("static", ["resolution"], "NONE"),
    ("vm-1", ["address"], "unix:///run/x"),
    ("every-field", ["outboundTrafficPolicy", "mode"], "REGISTRY_ONLY"),
]


@pytest.mark.parametrize(("kind", "spec", "says"), REFUSED, ids=lambda one: str(one)[:60])
def test_what_matters_most_is_refused_by_both(kind: str, spec: dict[str, Any], says: str):
    document = document_of(kind, spec)
    assert any(says in because for because in refusals(schema_of(document), document)), refusals(
        schema_of(document), document
    )
    assert Level.ERROR in {problem.level for problem in decode(document).problems}


def test_every_cel_rule_has_refused_something():
    """And has taken something: the good documents above, of which none is refused."""
    seen = {says for _, _, says in REFUSED}
    for kind in MESH_KINDS:
        schema = crd.crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        messages = [rule["message"] for rule in _cel_of(schema)]
        assert [message for message in messages if not any(says in message for says in seen)] == []


def _cel_of(schema: dict[str, Any]) -> Iterator[dict[str, str]]:
    yield from schema.get("x-kubernetes-validations", ())
    below = [
        *schema.get("properties", {}).values(),
        *(schema[part] for part in ("items", "additionalProperties") if part in schema),
    ]
    for one in below:
        yield from _cel_of(one)


@pytest.mark.parametrize(("name", "path", "value"), EXCLUSIVE, ids=lambda one: str(one)[:50])
def test_fields_that_exclude_each_other_are_refused_by_both(name, path, value):
    document = deepcopy(named(name))
    parent = document["spec"]
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = value
    assert refusals(schema_of(document), document) != []
    assert Level.ERROR in {problem.level for problem in decode(document).problems}


def _properties(schema: dict[str, Any], path: str = "spec") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, node in schema.get("properties", {}).items():
        yield f"{path}.{name}", node
        yield from _properties(node, f"{path}.{name}")
    for part in ("items", "additionalProperties"):
        if part in schema:
            yield from _properties(schema[part], path)


def _cel_rules(schema: dict[str, Any], path: str = "", times: int | None = 1) -> Iterator[tuple[str, str, int | None]]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield path, rule["rule"], times
    for name, node in schema.get("properties", {}).items():
        yield from _cel_rules(node, f"{path}.{name}", times)
    most = schema.get("maxItems")
    below = times * most if times is not None and most is not None else None
    for part in ("items", "additionalProperties"):
        if part in schema:
            yield from _cel_rules(schema[part], f"{path}[]", below)


def _mutations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each value of the document replaced by each of a few bad ones, and each field removed."""
    bads: tuple[Any, ...] = (None, {}, 70000, -1, "§", "x y")
    for path in list(_paths(document["spec"])):
        for bad in bads:
            changed = deepcopy(document)
            parent = changed["spec"]
            for step in path[:-1]:
                parent = parent[step]
            if bad is None:
                del parent[path[-1]]
            else:
                parent[path[-1]] = bad
            yield changed


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _paths(item, (*path, key))
