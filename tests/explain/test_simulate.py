"""What an outcome tells: every step, why, and from which objects."""

import pytest

from controlplane.explain import Address, Call, Resources, Stage, Tls, Verdict, decode, simulate
from controlplane.model.problem import ObjectRef, Origin
from controlplane.snapshot import types
from controlplane.snapshot.resource import Ref, resource
from tests.explain.build import at, eds, http, listener, load, resources, table, tcp, to
from tests.explain.generate.worlds import ADS

TO = Address("10.0.0.1", 80)
VS = Origin(ObjectRef("networking.istio.io", "VirtualService", "shop", "web"))


def ask(*chains, call=None, origins=None, **kinds):
    world = resources(listener("80", *TO, *chains), **kinds)
    return simulate(world, call or Call(address=TO, authority="a.test"), origins)


def test_every_step_is_told():
    said = ask(http(table(to("up"))))
    assert [step.stage for step in said.steps] == [
        Stage.LISTENER,
        Stage.FILTER_CHAIN,
        Stage.NETWORK_FILTER,
        Stage.REQUEST,
        Stage.ROUTE_CONFIGURATION,
        Stage.VIRTUAL_HOST,
        Stage.ROUTE,
        Stage.CLUSTER,
        Stage.ENDPOINTS,
    ]
    assert (said.verdict, said.cluster, said.name(Stage.ENDPOINTS)) == (Verdict.FORWARDED, "up", "10.0.0.7:8080")


def test_routes_that_did_not_match_say_why():
    exact = {**to("up", path="/x"), "name": "exact"}
    header = to("up", prefix="/", headers=[{"name": "x-user", "string_match": {"exact": "jason"}}])
    said = ask(http(table(exact, header, to("up"))))
    step = said.step(Stage.ROUTE)
    assert step is not None
    assert step.tried == ("exact: path /x does not fit /", "#1: header x-user is not there")


def test_the_step_that_had_nothing_is_named():
    assert ask(http(table(to("up"), domains=("b.test",)))).ended_at.why == "none of 1 has a domain for 'a.test'"
    assert ask(http(table(to("nowhere")))).ended_at.why == "'nowhere' is not there"
    assert ask(http("missing")).ended_at.why == "'missing' is not there"
    assert ask(tcp("up", destination_port=81)).ended_at.stage is Stage.FILTER_CHAIN
    lacking = ask(http(table(to("late"))), clusters=[eds("late")])
    assert lacking.ended_at.why == "no endpoints were sent for it"


@pytest.mark.parametrize(("code", "status"), [(None, 503), ("NOT_FOUND", 404), ("INTERNAL_SERVER_ERROR", 500)])
def test_a_route_says_what_a_missing_cluster_is(code, status):
    route = to("nowhere")
    if code:
        route["route"]["cluster_not_found_response_code"] = code
    said = ask(http(table(route)))
    assert (said.status, said.failure.flag) == (status, "NC")


def test_origins_come_from_the_caller_and_from_metadata():
    config = "/apis/networking.istio.io/v1/namespaces/shop/virtual-service/web"
    route = {**to("up"), "metadata": {"filter_metadata": {"istio": {"config": config}}}}
    se = Origin(ObjectRef("networking.istio.io", "ServiceEntry", "shop", "up"))
    said = ask(http("80"), routes=(table(route),), origins={Ref(types.CLUSTER, "up"): (se,)})
    assert said.step(Stage.ROUTE).origins == (VS,)
    assert said.step(Stage.CLUSTER).origins == (se,)
    assert said.step(Stage.LISTENER).origins == ()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/apis/gateway.networking.k8s.io/v1/namespaces/n/http-route/r", "HTTPRoute"),
        ("/apis/networking.istio.io/v1/namespaces/n/destination-rule/r", "DestinationRule"),
    ],
)
def test_kinds_are_read_from_kebab_case(path, kind):
    said = ask(http(table({**to("up"), "metadata": {"filter_metadata": {"istio": {"config": path}}}})))
    assert said.step(Stage.ROUTE).origins[0].ref.kind == kind


def test_metadata_that_is_not_a_path_has_no_origin():
    said = ask(http(table({**to("up"), "metadata": {"filter_metadata": {"istio": {"config": "/x"}}}})))
    assert said.step(Stage.ROUTE).origins == ()


def test_subsets_are_read_from_cluster_names():
    names = ("outbound|80|v1|web.shop", "outbound|80|v2|web.shop")
    clusters = [{"name": name, "weight": weight} for name, weight in zip(names, (90, 10), strict=True)]
    split = {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": clusters}}}
    said = ask(http(table(split)), up=names)
    assert [(one.subset, one.share) for one in said.destinations] == [("v1", 0.9), ("v2", 0.1)]
    assert (said.cluster, said.subset) == ("", "")
    assert ask(http(table(to(names[1]))), up=names).subset == "v2"


def test_a_missing_secret_closes_the_door():
    sds = {"tls_certificate_sds_secret_configs": [{"name": "site", "sds_config": ADS}]}
    context = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": sds,
    }
    chain = {**http(table(to("up"))), "transport_socket": {"name": "tls", "typed_config": context}}
    call = Call(address=TO, authority="a.test", tls=Tls())
    said = ask(chain, call=call)
    assert (said.verdict, said.ended_at.why) == (Verdict.CLOSED, "the proxy lacks the secret site")
    assert ask(chain, call=call, secrets=[{"name": "site", "tls_certificate": {}}]).verdict is Verdict.FORWARDED


@pytest.mark.parametrize("own_name", ["h", "a/b/h"])
def test_virtual_hosts_that_travel_alone_are_joined(own_name):
    whole = resources(listener("80", *TO, http("a/b")), routes=(table(to("up"), name="a/b"),))
    table_of_one = whole.routes["a/b"]
    host = table_of_one.virtual_hosts[0]
    host.name = own_name
    sent = [resource(types.VIRTUAL_HOST, "a/b/h", host.SerializeToString(), origins=(VS,))]
    del table_of_one.virtual_hosts[:]
    table_of_one.vhds.config_source.ads.SetInParent()
    sent.append(resource(types.ROUTE, "a/b", table_of_one.SerializeToString()))
    kinds = {types.LISTENER: whole.listeners, types.CLUSTER: whole.clusters, types.ENDPOINT: whole.endpoints}
    sent += [
        resource(kind, name, one.SerializeToString()) for kind, many in kinds.items() for name, one in many.items()
    ]
    decoded, origins = decode(sent)
    said = simulate(decoded, Call(address=TO, authority="a.test"), origins)
    step = said.step(Stage.VIRTUAL_HOST)
    assert step is not None
    assert (said.cluster, step.origins) == ("up", (VS,))


def test_healthy_endpoints_of_the_first_priority_take_all():
    ill = {"endpoint": at("10.0.0.8", 80), "health_status": "UNHEALTHY"}
    loads = [load("c", [{"endpoint": at("10.0.0.7", 80)}, {"endpoint": at("10.0.0.9", 80)}, ill])]
    loads[0]["endpoints"].append({"priority": 1, "lb_endpoints": [{"endpoint": at("10.1.0.1", 80)}]})
    said = ask(http(table(to("c"))), clusters=[eds("c")], loads=loads)
    chosen = [(one.address, one.priority) for one in said.destinations[0].endpoints]
    # 2 of 3 times 1.4 is 93 %: the rest spills over
    assert chosen == [("10.0.0.7:80", 0), ("10.0.0.9:80", 0), ("10.1.0.1:80", 1)]


def test_nothing_is_simulated_of_an_empty_proxy():
    said = simulate(Resources(), Call(address=TO))
    assert (said.verdict, said.ended_at.stage, said.listener) == (Verdict.REFUSED, Stage.LISTENER, "")
