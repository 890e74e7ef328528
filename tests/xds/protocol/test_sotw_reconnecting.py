"""SotW: what a proxy that comes back is told. It deletes every listener and cluster that the first full set lacks."""

from controlplane.snapshot.types import CLUSTER, LISTENER, ROUTE
from tests.xds.protocol.trace import acks, recv, run, sends, sotw
from tests.xds.views import cluster, listener, route


def test_the_first_full_set_has_what_only_this_proxy_sees():
    run(
        sotw(cluster("shared"), own=[cluster("inbound")]),
        recv(CLUSTER),
        sends(CLUSTER, "inbound", "shared"),
    )


def test_the_first_listeners_are_all_there():
    run(
        sotw(cluster("a"), listener("l80", "80"), route("80"), own=[listener("virtualInbound")]),
        recv(CLUSTER),
        sends(CLUSTER, "a"),
        acks(CLUSTER),
        recv(LISTENER),
        sends(LISTENER, "l80", "virtualInbound"),
        recv(ROUTE, "80"),
        sends(ROUTE, "80"),
    )


def test_a_new_proxy_gets_slow_clusters_apart():
    run(
        sotw(cluster("a"), cluster("dns", dns=True)),
        recv(CLUSTER),
        sends(CLUSTER, "a"),
        acks(CLUSTER),
        sends(CLUSTER, "a", "dns"),
    )


def test_a_proxy_that_comes_back_gets_slow_clusters_with_the_others():
    run(
        sotw(cluster("a"), cluster("dns", dns=True)),
        recv(CLUSTER, version="of before"),
        sends(CLUSTER, "a", "dns"),
    )
