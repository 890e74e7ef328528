"""What every proxy's configuration keeps, in any mesh: references lead somewhere, domains stand once, and more."""

from collections import Counter

import pytest

from controlplane.explain import Resources
from controlplane.explain import decode as decode_resources
from controlplane.model.meta import ref_of
from controlplane.model.problem import Level, ObjectRef, Origin
from controlplane.snapshot import types
from controlplane.snapshot.resource import Ref
from tests.compile.meshes import Seen, as_bytes, compiled_mesh, problems, put, seen, view_of
from tests.meshes import changes, coverage, decoded, random_mesh

SMALL, FULL = 40, 1000
FIXED = {"PassthroughCluster", "BlackHoleCluster", "InboundPassthroughCluster"}  # every sidecar has them, always
MESH_SETTINGS = ObjectRef("", "MeshConfig", "", "mesh")


@pytest.fixture(scope="module")
def meshes(size):
    return [random_mesh(seed) for seed in range(1000, 1000 + size(SMALL, FULL))]


@pytest.fixture(scope="module")
def graphs(meshes):
    return [(mesh, compiled_mesh(mesh)) for mesh in meshes]


def views(graphs):
    for mesh, graph in graphs:
        for proxy, found in seen(graph, mesh.proxies).items():
            yield mesh, graph, proxy, found


def resources(found: Seen) -> Resources:
    return decode_resources(found.values())[0]


def test_every_reference_leads_somewhere_or_is_a_problem(graphs):
    dangling = 0
    for mesh, graph, proxy, found in views(graphs):
        reported = {problem.origin.ref for problem in problems(graph) if problem.level is not Level.INFO}
        for resource in found.values():
            for ref in resource.refs:
                if tuple(ref) in found or ref.type_url == types.ENDPOINT:
                    continue
                dangling += 1
                blamed = {origin.ref for origin in resource.origins}
                assert blamed & reported, f"seed {mesh.seed}, {proxy}: {resource.name} names {ref}, silently"
    assert dangling  # some meshes do name what is missing


def test_every_cluster_that_asks_for_endpoints_gets_an_answer(graphs):
    for mesh, _, proxy, found in views(graphs):
        held = resources(found)
        asked = {
            cluster.eds_cluster_config.service_name or name
            for name, cluster in held.clusters.items()
            if cluster.type == cluster.EDS
        }
        assert asked == set(held.endpoints), f"seed {mesh.seed}, {proxy}"


def test_every_route_table_a_listener_names_is_there_with_a_host(graphs):
    for mesh, _, proxy, found in views(graphs):
        held = resources(found)
        named = {
            ref.name
            for key, one in found.items()
            if key[0] == types.LISTENER
            for ref in one.refs
            if ref.type_url == types.ROUTE
        }
        assert named <= set(held.routes), f"seed {mesh.seed}, {proxy}"
        assert all(held.routes[name].virtual_hosts for name in named), f"seed {mesh.seed}, {proxy}"


def test_no_domain_stands_twice_in_a_table(graphs):
    for mesh, _, proxy, found in views(graphs):
        for name, table in resources(found).routes.items():
            domains = Counter(domain.lower() for host in table.virtual_hosts for domain in host.domains)
            assert max(domains.values(), default=1) == 1, f"seed {mesh.seed}, {proxy}, {name}: {domains.most_common(3)}"


def test_references_of_a_resource_are_those_in_its_bytes(graphs):
    """`refs` drive make-before-break; what they leave out would be removed too early."""
    for mesh, _, proxy, found in views(graphs):
        held = resources(found)
        for table in held.routes.values():
            for host in table.virtual_hosts:
                named = {name for route in host.routes for name in _clusters_of(route)} - FIXED
                resource = found[types.VIRTUAL_HOST, host.name]
                noted = {ref.name for ref in resource.refs if ref.type_url == types.CLUSTER}
                assert named <= noted, f"seed {mesh.seed}, {proxy}, {resource.name}: {named - noted}"


def _clusters_of(route):
    if route.WhichOneof("action") != "route":
        return
    if route.route.cluster:
        yield route.route.cluster
    yield from (one.name for one in route.route.weighted_clusters.clusters)
    yield from (mirror.cluster for mirror in route.route.request_mirror_policies)


def test_everything_but_fixed_parts_says_where_it_comes_from(graphs):
    fixed = {types.LISTENER, types.ROUTE, types.CLUSTER, types.VIRTUAL_HOST}
    for mesh, _, proxy, found in views(graphs):
        for (type_url, name), resource in found.items():
            if not resource.origins:
                assert type_url in fixed, f"seed {mesh.seed}, {proxy}: {name}"
            for origin in resource.origins:
                assert isinstance(origin, Origin)
                assert origin.ref in {*mesh.manifests, MESH_SETTINGS}, (
                    f"seed {mesh.seed}, {proxy}: {name} comes from {origin}"
                )


def test_versions_are_digests_of_at_most_16_characters(graphs):
    by_version: dict[tuple[str, str], bytes] = {}
    for _, _, _, found in views(graphs):
        for (type_url, _), resource in found.items():
            assert 0 < len(resource.version) <= 16
            assert by_version.setdefault((type_url, resource.version), resource.body) == resource.body


def test_a_view_finds_who_names_a_resource(graphs):
    for mesh, graph in graphs[:10]:
        for proxy in mesh.proxies:
            scope = graph.scope(proxy.name)
            view = graph.proxy_view(scope, graph.shared_view(scope))
            found = seen(graph, [proxy])[proxy.name]
            for (type_url, name), resource in found.items():
                for ref in resource.refs:
                    if ref.type_url in {types.CLUSTER, types.SECRET} and type_url in {
                        types.LISTENER,
                        types.VIRTUAL_HOST,
                    }:
                        assert Ref(type_url, name) in set(view.referrers(ref)), f"seed {mesh.seed}: {name} -> {ref}"


def test_re_applying_everything_runs_nothing(meshes):
    for mesh in meshes[:10]:
        graph = compiled_mesh(mesh)
        runs: list[object] = []
        graph.store.trace = lambda *run, runs=runs: runs.append(run)
        put(graph, mesh.objects())
        assert runs == [], f"seed {mesh.seed}"
        put(graph, {ref: None for ref in mesh.manifests if ref.kind == "Service"})
        assert runs, f"seed {mesh.seed}"


def test_an_unrelated_object_touches_nothing(meshes):
    for mesh in meshes[:10]:
        graph = compiled_mesh(mesh)
        before = as_bytes(seen(graph, mesh.proxies))
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "far", "namespace": "delta"}, "data": {}}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "far", "namespace": "delta", "labels": {"app": "far"}},
            "status": {"podIP": "10.200.0.1"},
        }
        values = [decoded(secret), decoded(pod)]
        revision = graph.store.apply(graph.changes_of({ref_of(one): one for one in values}))
        assert not graph.outputs.touched(revision), f"seed {mesh.seed}"
        assert as_bytes(seen(graph, mesh.proxies)) == before


def test_what_a_revision_reports_is_what_changed(meshes):
    """Streams send what a revision reports; what it forgets never arrives, what it adds is noise."""
    for mesh in meshes[:12]:
        graph = compiled_mesh(mesh)
        held = {proxy.name: view_of(graph, proxy.name) for proxy in mesh.proxies}
        scopes = {proxy.name: graph.scope(proxy.name) for proxy in mesh.proxies}
        before = seen(graph, mesh.proxies)
        for edit in changes(mesh, mesh.seed, 12):
            values = {ref: one and decoded(one) for ref, one in edit.manifests.items()}
            revision = graph.store.apply(graph.changes_of(values))
            touched = graph.outputs.touched(revision)
            after = seen(graph, mesh.proxies)
            for name, view in held.items():
                if graph.scope(name) != scopes[name]:  # it moved: the server compares all there is
                    scopes[name] = graph.scope(name)
                    held[name] = view_of(graph, name)
                    continue
                reported = _reported(view.shared_view.changes(touched)) | _reported(view.changes(touched))
                changed = {
                    key
                    for key in {*before[name], *after[name]}
                    if _version(before[name], key) != _version(after[name], key)
                }
                assert changed == reported, f"seed {mesh.seed}, {name}, {edit.what}"
            before = after


def _reported(found):
    return {
        (type_url, name)
        for type_url, by_name in found.items()
        for name, change in by_name.items()
        if (change.old and change.old.version) != (change.new and change.new.version)
    }


def _version(found, key):
    return found[key].version if key in found else None


def test_generated_meshes_cover_the_api(meshes):
    found = coverage(meshes)
    missing = [path for path in WANTED if not found[path]]
    print(f"{len(meshes)} meshes, {len(found)} fields and values")
    assert missing == []


WANTED = [
    f"VirtualService.http.match.{field}.{kind}"
    for field in ("uri", "authority", "method")
    for kind in ("exact", "prefix", "regex")
]
WANTED += [
    f"VirtualService.http.match.{field}.*" for field in ("headers", "withoutHeaders", "queryParams", "sourceLabels")
]
WANTED += [
    f"VirtualService.http.match.{field}"
    for field in ("port", "sourceNamespace", "gateways", "ignoreUriCase", "scheme.exact", "statPrefix", "name")
]
WANTED += [
    f"VirtualService.http.{field}"
    for field in (
        "redirect.prefixRewrite",
        "redirect.uri",
        "redirect.derivePort",
        "directResponse.body.string",
        "directResponse.body.bytes",
        "delegate.namespace",
        "rewrite.uri",
        "rewrite.authority",
        "rewrite.uriRegexRewrite",
        "fault.abort.httpStatus",
        "fault.abort.grpcStatus",
        "fault.delay",
        "mirrors.percentage",
        "corsPolicy.allowOrigins.regex",
        "timeout",
        "retries.attempts",
        "headers.*.set",
        "headers.*.remove",
        "route.weight",
        "route.destination.subset",
    )
]
WANTED += [
    "VirtualService.tcp.match.destinationSubnets",
    "VirtualService.tls.match.sniHosts",
    "VirtualService.tcp.route.weight",
    "VirtualService.exportTo",
]
WANTED += [
    f"DestinationRule.trafficPolicy.loadBalancer.simple={one}"
    for one in ("ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "PASSTHROUGH")
]
WANTED += [
    f"DestinationRule.trafficPolicy.loadBalancer.consistentHash.{one}"
    for one in ("httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName", "ringHash", "maglev")
]
WANTED += [
    f"DestinationRule.trafficPolicy.{one}"
    for one in (
        "connectionPool.tcp",
        "connectionPool.http",
        "outlierDetection",
        "tls.mode=SIMPLE",
        "tls.mode=SIMPLE",
        "portLevelSettings.port",
    )
]
WANTED += [f"ServiceEntry.resolution={one}" for one in ("NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS")]
WANTED += [
    "ServiceEntry.workloadSelector",
    "ServiceEntry.addresses",
    "WorkloadEntry.address",
    "Service.type=ExternalName",
    "Service.clusterIP",
    "Service.trafficDistribution=PreferClose",
]
WANTED += [
    f"Gateway.servers.{one}"
    for one in (
        "tls.mode=SIMPLE",
        "tls.mode=MUTUAL",
        "tls.mode=PASSTHROUGH",
        "tls.httpsRedirect",
        "port.protocol=TCP",
        "port.protocol=HTTP",
    )
]
WANTED += [
    "Sidecar.egress.captureMode=NONE",
    "Sidecar.ingress.bind",
    "Sidecar.outboundTrafficPolicy.mode=REGISTRY_ONLY",
    "Sidecar.egress.hosts",
]
