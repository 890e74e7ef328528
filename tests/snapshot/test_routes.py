"""Joining virtual hosts into route configurations, and taking them apart again."""

from envoy.config.route.v3 import route_components_pb2, route_pb2

from controlplane.model.problem import ObjectRef, Origin
from controlplane.snapshot import routes
from controlplane.snapshot.resource import Ref, Resource, resource
from controlplane.snapshot.types import CLUSTER, ROUTE, VIRTUAL_HOST

ORIGIN = Origin(ObjectRef("networking.istio.io", "VirtualService", "default", "reviews"))


def header(name: str = "9080") -> Resource:
    message = route_pb2.RouteConfiguration(name=name)
    message.ignore_port_in_host_matching = True
    return resource(ROUTE, name, message.SerializeToString(deterministic=True))


def host(name: str, cluster: str = "c", route: str = "9080") -> Resource:
    message = route_components_pb2.VirtualHost(name=routes.host_name(route, name), domains=[name])
    action = message.routes.add()
    action.match.prefix = "/"
    action.route.cluster = cluster
    body = message.SerializeToString(deterministic=True)
    return resource(VIRTUAL_HOST, routes.host_name(route, name), body, (Ref(CLUSTER, cluster),), (ORIGIN,))


def decoded(whole: Resource) -> route_pb2.RouteConfiguration:
    return route_pb2.RouteConfiguration.FromString(whole.body)


def test_a_whole_route_holds_its_hosts_in_the_order_given_under_their_short_names():
    message = decoded(routes.whole_route(header(), [host("b"), host("a")]))
    assert [vh.name for vh in message.virtual_hosts] == ["b", "a"]
    assert [list(vh.domains) for vh in message.virtual_hosts] == [["b"], ["a"]]
    assert message.name == "9080"
    assert message.ignore_port_in_host_matching


def test_a_whole_route_names_what_its_hosts_name_and_comes_from_where_they_come_from():
    whole = routes.whole_route(header(), [host("b", "y"), host("a", "x")])
    assert whole.refs == (Ref(CLUSTER, "x"), Ref(CLUSTER, "y"))
    assert whole.origins == (ORIGIN,)


def test_the_version_of_a_whole_route_follows_its_hosts():
    one, other = (routes.whole_route(header(), [host("a", cluster)]) for cluster in ("x", "y"))
    again = routes.whole_route(header(), [host("a", "x")])
    assert one.version == again.version != other.version


def test_a_delta_proxy_gets_the_header_with_vhds_over_the_same_stream():
    message = decoded(routes.with_vhds(header()))
    assert message.vhds.config_source.HasField("ads")
    assert message.ignore_port_in_host_matching
    assert not decoded(header()).HasField("vhds")


def test_the_resource_of_a_virtual_host_belongs_to_all_before_the_last_slash():
    assert routes.route_of("https.443.h/gw.ns/reviews:9080") == "https.443.h/gw.ns"


def test_a_placeholder_answers_no_real_host_and_is_removable_by_its_name():
    placeholder = routes.placeholder_host("9080")
    message = route_components_pb2.VirtualHost.FromString(placeholder.body)
    assert message.name == placeholder.name == routes.placeholder_name("9080")
    assert list(message.domains) == ["placeholder.invalid"]
    assert routes.is_placeholder(placeholder.name)
    assert not routes.is_placeholder("9080/reviews:9080")


def test_lengths_beyond_one_byte_are_varints():
    big = host("h" * 300)
    assert decoded(routes.whole_route(header(), [big])).virtual_hosts[0].name == "h" * 300
