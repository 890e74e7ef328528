"""Which kinds there are, from what an API server says of its groups."""

import json
from collections.abc import Iterable

import pytest

from controlplane.model.kinds import BY_NAME
from controlplane.sources.kubernetes.discovery import Catalogue, misversioned, read_catalogue, resources
from controlplane.sources.kubernetes.resource import Resource
from controlplane.sources.kubernetes.wire import Garbage
from tests.sources.kubernetes.cluster import ROUTES, RULES, Cluster, Kind

KINDS = [
    BY_NAME["", "Service"],
    BY_NAME["", "Node"],
    BY_NAME["networking.istio.io", "VirtualService"],
    BY_NAME["security.istio.io", "AuthorizationPolicy"],
]


def catalogue(*kinds: Kind) -> Catalogue:
    cluster = Cluster()
    for kind in kinds:
        cluster.install(kind)
    return read_catalogue(json.dumps(cluster.discovery()).encode())


def names(found: Iterable[Resource]) -> list[str]:
    return [f"{one}/{one.version}" for one in found]


def test_kinds_that_exist_are_read_and_others_are_not() -> None:
    assert names(resources(catalogue(), KINDS)) == ["services/v1", "nodes/v1"]
    found = resources(catalogue(RULES), KINDS)
    assert names(found) == ["services/v1", "nodes/v1", "virtualservices.networking.istio.io/v1"]
    assert [one.path for one in found][::2] == ["/api/v1/services", "/apis/networking.istio.io/v1/virtualservices"]


def test_only_metadata_is_asked_for_where_nothing_else_is_read() -> None:
    service, node, route = resources(catalogue(ROUTES), KINDS)
    assert (service.list_type, service.object_type) == ("application/json", "application/json")
    assert node.list_type == "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    assert node.object_type == "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
    assert route.metadata_only


def test_kinds_without_an_effect_are_read_to_say_so_and_foreign_ones_are_not() -> None:
    patch = Kind("networking.istio.io", "v1alpha3", "envoyfilters", "EnvoyFilter")
    foreign = Kind("example.com", "v1", "widgets", "Widget")
    older = ROUTES._replace(version="v1beta1")
    found = resources(catalogue(ROUTES, older, patch, foreign), KINDS)[2:]
    assert sorted(names(found)) == [
        "envoyfilters.networking.istio.io/v1alpha3",
        "httproutes.gateway.networking.k8s.io/v1",
    ]
    assert [one.known for one in found] == [None, None]
    (route,) = (one for one in found if one.kind == "HTTPRoute")
    raw = b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"r","namespace":"n"}}'
    decoded = route.decode(raw)
    assert [problem.code for problem in decoded.problems] == ["KindNotSupportedYet"]
    assert str(decoded.problems[0].origin.ref) == "HTTPRoute n/r"


def test_the_first_version_that_both_know_is_read() -> None:
    older = RULES._replace(version="v1alpha3")
    assert names(resources(catalogue(older), KINDS))[2:] == ["virtualservices.networking.istio.io/v1alpha3"]
    assert names(resources(catalogue(older, RULES), KINDS))[2:] == ["virtualservices.networking.istio.io/v1"]


def test_a_version_nobody_reads_is_said() -> None:
    newer = RULES._replace(version="v7")
    (problem,) = misversioned(catalogue(newer), KINDS)
    assert problem.code == "VersionNotServed"
    assert "VirtualService is served as v7 only; networking.istio.io/v1 or v1beta1 or v1alpha3" in problem.message
    assert not list(misversioned(catalogue(RULES), KINDS))
    assert not list(misversioned(catalogue(), KINDS)), "a kind that is not there is nobody's mistake"


def test_groups_the_server_could_not_ask_about_are_known_as_such() -> None:
    document = catalogue_document()
    document["items"][0]["versions"][0]["freshness"] = "Stale"
    found = read_catalogue(json.dumps(document).encode())
    assert found.stale == {document["items"][0]["metadata"]["name"]}


def catalogue_document() -> dict:
    cluster = Cluster()
    cluster.install(RULES)
    return cluster.discovery()


def test_what_cannot_be_listed_and_watched_is_not_there() -> None:
    document = catalogue_document()
    for group in document["items"]:
        for version in group["versions"]:
            for resource in version["resources"]:
                resource["verbs"] = ["create", "list"]
    assert read_catalogue(json.dumps(document).encode()).served == ()


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"<html>", b'{"kind":"APIGroupDiscoveryList"}'])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(Garbage):
        read_catalogue(body)


def test_an_older_api_server_is_told_apart() -> None:
    with pytest.raises(Garbage, match=r"Kubernetes 1\.30 or newer is needed"):
        read_catalogue(b'{"kind":"APIGroupList","items":[]}')
