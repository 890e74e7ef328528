"""The CRDs, judged by who has to live with them: an API server takes them, and refuses by them what they say.

Rules in CEL have a price there, worked out from the schema, and a CRD that is too dear is refused as a whole.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from controlplane.model.crd import files
from e2e.kubectl import Kubectl, KubectlError, eventually
from tests.model.documents import documents
from tests.model.refused import REFUSED, document_of

CRDS = [yaml.safe_load(text) for text in files().values()]
# What an API server says where a schema speaks of a part, and not a rule of the whole.
_IN_OTHER_WORDS = {"minItems": "should have at least 1 items", "anyOf": "anyOf"}


@pytest.fixture(scope="module")
def kubectl() -> Iterator[Kubectl]:
    """Where the CRDs are; those that were not there before go again."""
    own = Kubectl("default")
    before = {one["metadata"]["name"] for one in own.json("get", "customresourcedefinitions")["items"]}
    missing = [one for one in CRDS if one["metadata"]["name"] not in before]
    own(
        "apply",
        "--server-side",
        "--filename",
        "-",
        data=json.dumps({"apiVersion": "v1", "kind": "List", "items": missing}),
    )
    yield own
    for one in missing:
        own("delete", "customresourcedefinition", one["metadata"]["name"])


def tried(kubectl: Kubectl, document: dict[str, Any]) -> str:
    """Why it is not taken, "" when it is. Nothing is stored."""
    written = {**document, "metadata": {**document["metadata"], "namespace": kubectl.namespace}}
    try:
        kubectl("create", "--dry-run=server", "--validate=strict", "--filename", "-", data=json.dumps(written))
    except KubectlError as error:
        return str(error)
    return ""


def test_an_api_server_takes_them_and_finds_nothing_to_say(kubectl: Kubectl) -> None:
    def conditions(name: str) -> dict[str, str]:
        found = kubectl.json("get", "customresourcedefinition", name)["status"]["conditions"]
        return {one["type"]: one["status"] for one in found}

    for crd in CRDS:
        name = crd["metadata"]["name"]
        there = eventually(lambda name=name: conditions(name), lambda found: found.get("Established") == "True")  # type: ignore[misc]
        assert there.get("NonStructuralSchema", "False") == "False", name


@pytest.mark.parametrize("document", documents(), ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_what_is_good_is_taken_whole(kubectl: Kubectl, document: dict[str, Any]) -> None:
    assert eventually(lambda: tried(kubectl, document) or "taken") == "taken"


@pytest.mark.parametrize(("kind", "spec", "says"), REFUSED, ids=lambda one: str(one)[:60])
def test_what_matters_most_is_refused_with_its_reason(
    kubectl: Kubectl, kind: str, spec: dict[str, Any], says: str
) -> None:
    because = tried(kubectl, document_of(kind, spec))
    assert _IN_OTHER_WORDS.get(says, says) in because
