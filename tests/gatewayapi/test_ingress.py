"""Ingresses together: with one another, with Gateways, with what is wrong in them."""

from typing import Any

import pytest

from controlplane.gatewayapi.ingress import GatewayAddress, addresses, gateway_service
from controlplane.model.meta import ref_of
from controlplane.model.problem import ObjectRef
from controlplane.model.settings import IngressControllerMode, Settings, Tenancy
from tests.gatewayapi.ingresses import Gate, Path, backend, document, ingress, ingress_class, rule, value

CLASS = "kubernetes.io/ingress.class"
LATEEN, ISTIO = "lateen.dev/ingress-controller", "istio.io/ingress-controller"
A_COM: dict[str, Any] = {"rules": [rule("a.com", Path("/", "it"))]}


def mode(of: IngressControllerMode) -> Settings:
    return Settings(refuse_local_endpoints=False, ingress_controller_mode=of)


# Classes


def test_a_class_is_whose_controller_it_names() -> None:
    gate = Gate(ingress_class("edge", LATEEN), ingress_class("far", "example.com/other"))
    gate.apply(document("ours", ingressClassName="edge", **A_COM))
    gate.apply(document("theirs", ingressClassName="far", rules=[rule("b.com", Path("/", "it"))]))
    gate.apply(document("nobodys", ingressClassName="none", rules=[rule("c.com", Path("/", "it"))]))
    assert [gate.to(host) for host in ("a.com", "b.com", "c.com")] == ["it", "404", "404"]
    assert gate.told() == [
        ("OfAnotherClass", "Ingress default/theirs", "spec.ingressClassName"),
        ("ReferencedResourceNotFound", "Ingress default/nobodys", "spec.ingressClassName"),
    ]


def test_an_object_says_more_than_a_name() -> None:
    """Somebody else has called their class so."""
    gate = Gate(ingress(**A_COM))
    assert gate.to("a.com") == "it"
    gate.apply(ingress_class("lateen", "example.com/other"))
    assert gate.to("a.com") != "it"
    gate.apply(ingress_class("lateen", LATEEN))
    assert gate.to("a.com") == "it"


def test_the_default_class_is_for_those_that_name_none() -> None:
    gate = Gate(document(**A_COM))
    assert gate.told() == [("NoEffect", "Ingress default/web", "spec.ingressClassName")]
    gate.apply(ingress_class("edge", LATEEN, default=True))
    assert gate.to("a.com") == "it"
    assert gate.told() == []
    gate.apply(document(annotations={CLASS: "nginx"}, **A_COM))
    assert gate.to("a.com") != "it"


@pytest.mark.parametrize(
    ("of", "annotation", "answers"),
    [
        (IngressControllerMode.STRICT, "istio", "it"),
        (IngressControllerMode.STRICT, "lateen", "it"),
        (IngressControllerMode.STRICT, "nginx", "nobody"),
        (IngressControllerMode.STRICT, None, "nobody"),
        (IngressControllerMode.DEFAULT, "istio", "it"),
        (IngressControllerMode.DEFAULT, "nginx", "nobody"),
        (IngressControllerMode.DEFAULT, None, "it"),
        (IngressControllerMode.OFF, "istio", "nobody"),
        (IngressControllerMode.OFF, "lateen", "nobody"),
    ],
)
def test_modes_are_as_istio_has_them(of: IngressControllerMode, annotation: str | None, answers: str) -> None:
    annotations = {} if annotation is None else {CLASS: annotation}
    gate = Gate(document(annotations=annotations, **A_COM), settings=mode(of))
    assert (gate.to("a.com") == "it") == (answers == "it") == (not gate.told())


def test_the_annotation_counts_first() -> None:
    gate = Gate(ingress_class("edge", LATEEN), document(ingressClassName="edge", annotations={CLASS: "nginx"}, **A_COM))
    assert gate.to("a.com") != "it"


def test_parameters_are_nobodys() -> None:
    gate = Gate(ingress_class("edge", ISTIO, parameters={"kind": "ConfigMap", "name": "more"}))
    assert gate.told() == [("NoEffect", "IngressClass edge", "spec.parameters")]


def test_only_ingress_gateways_open_anything_and_only_for_ingresses() -> None:
    gate = Gate()
    other = gate.world.gateway(labels={"istio": "eastwest"})
    assert gate.gateway.resources() == []
    gate.apply(ingress(**A_COM))
    assert gate.to("a.com") == "it"
    assert other.resources() == []
    gate.world.change({ObjectRef("networking.k8s.io", "Ingress", "default", "web"): None})
    assert gate.gateway.resources() == []


def test_the_gateways_are_those_that_meshconfig_names() -> None:
    settings = Settings(refuse_local_endpoints=False, ingress_service="edge/my-gateway")
    gate = Gate(ingress(**A_COM), settings=settings)
    mine = gate.world.gateway(labels={"istio": "my-gateway"})
    assert gate.gateway.resources() == []
    assert mine.enter("a.com").route


# Several for one host


def test_several_for_one_host_are_one_list() -> None:
    gate = Gate(
        ingress("young", age=2, rules=[rule("a.com", Path("/a/b", "deep"), Path("/c", "c"))]),
        ingress("old", age=1, rules=[rule("a.com", Path("/", "all"), Path("/a", "a"), Path("/a/b", "exact", "Exact"))]),
    )
    asked = ("/a/b", "/a/b/c", "/a/x", "/c", "/d")
    assert [gate.to("a.com", path) for path in asked] == ["exact", "deep", "a", "c", "all"]
    assert gate.told() == []


def test_of_two_that_say_the_same_the_older_has_it_and_both_are_told() -> None:
    gate = Gate(
        ingress("a-young", age=2, rules=[rule("a.com", Path("/a", "young"))], defaultBackend=backend("young")),
        ingress("b-old", age=1, rules=[rule("a.com", Path("/a/", "old"))], defaultBackend=backend("old")),
    )
    assert gate.to("a.com", "/a") == gate.to("a.com", "/b") == gate.to("c.com") == "old"
    path = "spec.rules[0].http.paths[0]"
    assert sorted(gate.told("Conflicted")) == [
        ("Conflicted", "Ingress default/a-young", "spec.defaultBackend"),
        ("Conflicted", "Ingress default/a-young", path),
        ("Conflicted", "Ingress default/b-old", "spec.defaultBackend"),
        ("Conflicted", "Ingress default/b-old", path),
    ]


def test_files_have_no_age_and_go_by_name() -> None:
    gate = Gate(
        ingress("b", rules=[rule("a.com", Path("/", "b"))]),
        ingress("a", rules=[rule("a.com", Path("/", "a"))]),
    )
    assert gate.to("a.com") == "a"


def test_a_host_is_of_the_namespace_that_had_it_first() -> None:
    theirs = ingress("theirs", "shop", age=1, rules=[rule("a.com", Path("/", "shop"))])
    mine = ingress("mine", "evil", age=2, rules=[rule("a.com", Path("/admin", "evil"))])
    gate = Gate(mine, theirs)
    assert gate.to("a.com", "/admin") == "shop"
    assert gate.told() == [
        ("Conflicted", "Ingress evil/mine", "spec.rules"),
        ("Conflicted", "Ingress shop/theirs", "spec.rules"),
    ]
    loose = Gate(mine, theirs, settings=Settings(refuse_local_endpoints=False, tenancy=Tenancy.ISTIO))
    assert loose.to("a.com", "/admin") == "evil"


# TLS


def test_a_certificate_opens_443_for_its_hosts() -> None:
    rules = [rule("a.com", Path("/", "a")), rule("b.com", Path("/", "b"))]
    gate = Gate(ingress(tls=[{"hosts": ["a.com"], "secretName": "cert"}], rules=rules)).secret("cert")
    assert gate.to("a.com", tls="a.com") == "a"
    assert gate.ask("b.com", tls="b.com").filter_chain == ""
    assert gate.to("b.com", tls="a.com") == "404"
    assert gate.told() == []


def test_without_hosts_a_certificate_is_for_those_of_the_rules() -> None:
    rules = [rule("a.com", Path("/", "a")), rule("*.b.com", Path("/", "b"))]
    gate = Gate(ingress(tls=[{"secretName": "cert"}], rules=rules)).secret("cert")
    assert [gate.to(host, tls=host) for host in ("a.com", "x.b.com")] == ["a", "b"]
    assert gate.ask("c.com", tls="c.com").filter_chain == ""


def test_hosts_of_certificates_and_of_rules_meet() -> None:
    """One certificate for several hosts, one host of a wildcard rule with a certificate of its own."""
    rules = [rule("*.foo.com", Path("/", "wild")), rule("bar.foo.com", Path("/", "bar")), rule(None, Path("/", "all"))]
    tls = [{"hosts": ["*.foo.com"], "secretName": "wild"}, {"hosts": ["baz.foo.com", "c.com"], "secretName": "own"}]
    gate = Gate(ingress(tls=tls, rules=rules)).secret("wild").secret("own")
    asked = {host: gate.to(host, tls=host) for host in ("x.foo.com", "bar.foo.com", "baz.foo.com", "c.com")}
    assert asked == {"x.foo.com": "wild", "bar.foo.com": "bar", "baz.foo.com": "wild", "c.com": "all"}
    assert gate.to("baz.foo.com", tls="x.foo.com") == "421", "over a connection that was opened for another certificate"
    assert gate.told() == []


def test_a_host_with_a_certificate_and_no_rule() -> None:
    gate = Gate(ingress(tls=[{"hosts": ["a.com", "b.com"], "secretName": "cert"}], **A_COM)).secret("cert")
    assert gate.to("b.com", tls="b.com") == "404"
    assert gate.told() == [("NoEffect", "Ingress default/web", "spec.tls[0].hosts[1]")]


def test_secrets_are_read_beside_the_gateway() -> None:
    gate = Gate(ingress(tls=[{"hosts": ["a.com"], "secretName": "cert"}], **A_COM)).secret("cert", "default")
    (problem,) = gate.world.problems()
    assert (problem.code, problem.origin.path) == ("InvalidGatewayCredential", "spec.tls[0].secretName")
    assert "there is no Secret lateen-system/cert" in problem.message
    assert "not in default" in problem.message
    assert gate.secret("cert").told() == []


def test_two_ingresses_share_a_certificate_or_argue_about_it() -> None:
    def one(name: str, secret: str, age: int) -> dict[str, Any]:
        rules = [rule("a.com", Path(f"/{name}", name))]
        return ingress(name, age=age, tls=[{"hosts": ["a.com"], "secretName": secret}], rules=rules)

    gate = Gate(one("x", "cert", 1), one("y", "cert", 2)).secret("cert").secret("other")
    assert [gate.to("a.com", path, tls="a.com") for path in ("/x", "/y")] == ["x", "y"]
    assert gate.told() == []
    gate.apply(one("y", "other", 2))
    assert [gate.to("a.com", path, tls="a.com") for path in ("/x", "/y")] == ["x", "y"]
    assert sorted(gate.told()) == [
        ("Conflicted", "Ingress default/x", "spec.tls[0]"),
        ("Conflicted", "Ingress default/y", "spec.tls[0]"),
    ]


# Beside Gateways


def gateway(hosts: str, name: str = "gw", namespace: str = "default", *, server: str = "", age: int = 0) -> str:
    server = server or "port: {number: 80, name: http, protocol: HTTP}"
    made = ingress("x", age=age)["metadata"]["creationTimestamp"]
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: {namespace}, creationTimestamp: "{made}"}}
spec: {{selector: {{istio: ingressgateway}}, servers: [{{{server}, hosts: ["{hosts}"]}}]}}
"""


def virtual_service(host: str, path: str, to: str, namespace: str = "default", *, age: int = 0) -> str:
    made = ingress("x", age=age)["metadata"]["creationTimestamp"]
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: vs, namespace: {namespace}, creationTimestamp: "{made}"}}
spec: {{hosts: [{host}], gateways: [{namespace}/gw], http: [{{match: [{{uri: {{prefix: {path}}}}}], route: [{{destination: {{host: {to}}}}}]}}]}}
"""


def test_rules_of_both_kinds_for_one_host_are_merged_the_oldest_first() -> None:
    gate = Gate(ingress(age=5, rules=[rule("a.com", Path("/a", "it"), Path("/", "rest"))]))
    gate.world.apply(gateway("*"))
    gate.apply(ingress("other", rules=[rule("other.com", Path("/", "vs"))]))
    gate.world.apply(virtual_service("a.com", "/a", "vs", age=9))
    assert [gate.to("a.com", path) for path in ("/a", "/ab", "/b")] == ["it", "vs", "rest"]
    gate.world.apply(virtual_service("a.com", "/a", "vs", age=1))
    assert [gate.to("a.com", path) for path in ("/a", "/ab", "/b")] == ["vs", "vs", "rest"]


@pytest.mark.parametrize(("age", "answers"), [(1, "vs"), (9, "it")])
def test_a_host_that_a_gateway_and_an_ingress_of_two_namespaces_claim_is_the_olders(age: int, answers: str) -> None:
    gate = Gate(ingress(age=5, rules=[rule("a.com", Path("/", "it"))]))
    gate.apply(ingress("other", "shop", rules=[rule("other.com", Path("/", "vs"))]))
    gate.world.apply(gateway("a.com", namespace="shop", age=age))
    gate.world.apply(virtual_service("a.com", "/", "vs", "shop", age=1))
    assert gate.to("a.com") == answers
    assert sorted(kind.partition(" ")[0] for _, kind, _ in gate.told("Conflicted")) == ["Gateway", "Ingress"]


def test_a_redirect_of_a_gateway_for_all_hosts_is_not_for_ingresses() -> None:
    redirecting = "port: {number: 80, name: http, protocol: HTTP}, tls: {httpsRedirect: true}"
    gate = Gate(ingress(**A_COM))
    gate.world.apply(gateway("*", server=redirecting))
    assert gate.to("a.com") == "it"
    assert gate.to("b.com") == "301"
    gate.world.apply(gateway("a.com", server=redirecting))
    assert gate.to("a.com") == "301", "who writes the same host beside it means it"


def test_a_port_80_that_is_not_http_stays_so() -> None:
    gate = Gate(ingress(**A_COM))
    gate.world.apply(gateway("*", server="port: {number: 80, name: tcp, protocol: TCP}"))
    assert ("NoEffect", "Ingress default/web", "spec.rules") in gate.told("NoEffect")


def test_a_virtual_service_cannot_attach_to_the_servers_of_an_ingress() -> None:
    gate = Gate(ingress("gw", tls=[{"hosts": ["a.com"], "secretName": "cert"}], **A_COM)).secret("cert")
    gate.apply(ingress("other", rules=[rule("other.com", Path("/", "vs"))]))
    for name in ("Ingress.gw", "Ingress."):
        gate.world.apply(virtual_service("a.com", "/a", "vs", age=1).replace("default/gw", f"default/{name}"))
        assert gate.to("a.com", "/a") == gate.to("a.com", "/a", tls="a.com") == "it"


# What is wrong in them

A_PATH = {"path": "/a", "pathType": "Prefix", "backend": backend("it")}
WRONG = [
    ({"host": "1.2.3.4"}, "InvalidHost", "host", "404"),
    ({"host": "*"}, "InvalidHost", "host", "404"),
    ({"host": "a.*.com"}, "InvalidHost", "host", "404"),
    ({"host": "a.com:80"}, "InvalidHost", "host", "404"),
    ({"path": "a"}, "InvalidMatch", "http.paths[0].path", "404"),
    ({"path": "/a?b"}, "InvalidMatch", "http.paths[0].path", "404"),
    ({"path": "/a//b"}, "InvalidMatch", "http.paths[0].path", "404"),
    ({"path": "/a/%2Fb"}, "InvalidMatch", "http.paths[0].path", "404"),
    ({"path": "/a/.."}, "InvalidMatch", "http.paths[0].path", "404"),
    ({"path": "/a b"}, "InvalidMatch", "http.paths[0].path", "404"),
    ({"path": "/ä"}, "InvalidMatch", "http.paths[0].path", "404"),
    ({"pathType": "Regex"}, "InvalidMatch", "http.paths[0].pathType", "404"),
    ({"pathType": ""}, "InvalidMatch", "http.paths[0].pathType", "404"),
    ({"backend": {}}, "InvalidValue", "http.paths[0].backend", "500"),
    (
        {"backend": {"resource": {"kind": "Bucket", "name": "x"}}},
        "FieldNotSupportedYet",
        "http.paths[0].backend.resource",
        "500",
    ),
    (
        {"backend": {**backend("it"), "resource": {"kind": "Bucket", "name": "x"}}},
        "ConflictingFields",
        "http.paths[0].backend.resource",
        "500",
    ),
    ({"backend": backend("missing")}, "ReferencedResourceNotFound", "http.paths[0].backend.service.name", "503"),
    (
        {"backend": backend("missing", name="http")},
        "ReferencedResourceNotFound",
        "http.paths[0].backend.service.name",
        "503",
    ),
    (
        {"backend": backend("it", number=81)},
        "ReferencedResourceNotFound",
        "http.paths[0].backend.service.port.number",
        "503",
    ),
    (
        {"backend": backend("it", name="grpc")},
        "ReferencedResourceNotFound",
        "http.paths[0].backend.service.port.name",
        "503",
    ),
    ({"backend": backend("it", number=80, name="http")}, "InvalidValue", "http.paths[0].backend.service.port", "500"),
    ({"backend": backend("it", number=70000)}, "InvalidValue", "http.paths[0].backend.service.port", "500"),
    (
        {"backend": {"service": {"name": "It.", "port": {"number": 80}}}},
        "InvalidValue",
        "http.paths[0].backend.service.name",
        "500",
    ),
]


@pytest.mark.parametrize(("change", "code", "path", "answer"), WRONG)
def test_one_bad_part_is_said_and_takes_nothing_with_it(
    change: dict[str, Any], code: str, path: str, answer: str
) -> None:
    path_change = {key: value for key, value in change.items() if key != "host"}
    bad = {"host": change.get("host", "a.com"), "http": {"paths": [{**A_PATH, **path_change}]}}
    gate = Gate(ingress(rules=[bad, rule("good.com", Path("/", "good"))]))
    gate.apply(ingress("it", rules=[rule("it.com", Path("/", "it"))]))
    assert (code, "Ingress default/web", f"spec.rules[0].{path}") in gate.told()
    assert gate.to("a.com", "/a") == answer
    assert gate.to("good.com") == "good"


def test_words_for_other_controllers_have_no_effect_and_that_is_said() -> None:
    key = "nginx.ingress.kubernetes.io/rewrite-target"
    rules = [rule("a.com", Path("/a(/|$)(.*)", "it", "ImplementationSpecific"))]
    gate = Gate(ingress(annotations={key: "/$2", "example.com/mine": "x"}, rules=rules))
    assert gate.told() == [
        ("NoEffect", "Ingress default/web", f"metadata.annotations[{key}]"),
        ("NoEffect", "Ingress default/web", "spec.rules[0].http.paths[0].path"),
    ]


def test_a_certificate_without_a_secret_opens_nothing() -> None:
    gate = Gate(ingress(tls=[{"hosts": ["a.com"]}], **A_COM))
    assert gate.told() == [("InvalidValue", "Ingress default/web", "spec.tls[0].secretName")]
    assert gate.gateway.names("type.googleapis.com/envoy.config.listener.v3.Listener") == ["0.0.0.0_80"]


# A change costs what it changes


def test_a_backend_that_moves_touches_its_own_host() -> None:
    def one(n: int, to: str) -> dict[str, Any]:
        tls = [{"hosts": [f"h{n}.com"], "secretName": "one-for-all"}]
        return ingress(f"i{n}", tls=tls, rules=[rule(f"h{n}.com", Path("/", to))])

    gate = Gate(*(one(n, f"s{n % 3}") for n in range(20)))
    store = gate.world.graph.store
    trace: list[tuple[str, Any]] = []
    store.trace = trace
    changed = value(one(7, "s2"))
    gate.world.change({ref_of(changed): changed})
    assert gate.to("h7.com") == "s2"
    hosts = [key[2] for name, key in trace if name == "GatewayVirtualHosts"]
    assert hosts == ["h7.com", "h7.com"], "on both ports"
    others = {"GatewayPlans", "GatewayListeners", "AllIngressServers", "Credentials"}
    assert not [name for name, _ in trace if name in others]


# Status


def service(kind: str, *balanced: dict[str, str], **spec: Any) -> Any:
    written = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "istio-ingressgateway", "namespace": "lateen-system"},
        "spec": {"type": kind, "clusterIP": "10.96.0.9", **spec},
        "status": {"loadBalancer": {"ingress": list(balanced)}},
    }
    return value(written)


NODES = ("10.0.0.2", "192.0.2.9")


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (None, []),
        (service("LoadBalancer"), []),
        (service("LoadBalancer", {"ip": "192.0.2.1"}), [{"ip": "192.0.2.1"}]),
        (service("LoadBalancer", {"hostname": "lb.example.com"}), [{"hostname": "lb.example.com"}]),
        (service("LoadBalancer", {"ip": "192.0.2.2"}, {"ip": "192.0.2.1"}), [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}]),
        (service("LoadBalancer", {"ip": "2001:db8::1", "hostname": "both"}), [{"ip": "2001:db8::1"}]),
        (service("ClusterIP", externalIPs=["192.0.2.3"]), [{"ip": "192.0.2.3"}]),
        (service("NodePort"), [{"ip": "10.0.0.2"}, {"ip": "192.0.2.9"}]),
        (service("ClusterIP"), [{"ip": "10.96.0.9"}]),
        (service("ClusterIP", clusterIP="None"), []),
        (service("ExternalName", externalName="edge.example.com"), [{"hostname": "edge.example.com"}]),
    ],
)
def test_which_addresses_an_ingress_shows(found: Any, shown: list[dict[str, str]]) -> None:
    wanted = tuple(GatewayAddress(**one) for one in shown)
    assert addresses(found, NODES) == wanted


def test_whose_addresses_these_are() -> None:
    assert gateway_service(Settings()) == ("lateen-system", "istio-ingressgateway")
    assert gateway_service(Settings(ingress_service="edge/mine")) == ("edge", "mine")
