"""A real Envoy takes what the server sends, in both protocols, through changes, refusals and crashes."""

from pathlib import Path

import pytest

from controlplane.snapshot.types import CLUSTER, VIRTUAL_HOST
from tests.envoys.upstreams import Upstreams, loopback_address
from tests.xds.real.harness import World, world
from tests.xds.real.resources import cluster, endpoints, host, listener, route

both = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])


@both
def test_changes_reach_requests(tmp_path: Path, delta: bool):  # noqa: FBT001 - a parameter of the test
    address = loopback_address()
    first = [listener("l", address, 0, "80"), route("80"), host("80", "a", says="one")]
    with world(tmp_path, *first, delta=delta) as w:
        w.until("l", "a", (200, "one"))
        w.server.apply(host("80", "a", says="two"), host("80", "b", says="b"))
        w.until("l", "a", (200, "two"))
        w.until("l", "b", (200, "b"))
        w.server.apply(remove=(host("80", "b"),))
        w.until("l", "b", (404, ""))
        assert not w.server.of("refused")


def shop(address: str, upstream: tuple[str, int]):
    """A listener, a route configuration, two clusters with their hosts."""
    names = ("a", "b")
    clusters = [part for name in names for part in (cluster(name), endpoints(name, *upstream))]
    return [listener("l", address, 0, "80"), route("80"), *(host("80", n, cluster=n) for n in names), *clusters]


@pytest.fixture
def upstream():
    with Upstreams() as upstreams:
        yield upstreams.add("up")


def test_after_kill_9_an_unchanged_proxy_is_sent_nothing(tmp_path: Path, upstream):
    resources = shop(loopback_address(), upstream)
    with world(tmp_path, *resources) as w:
        w.until_status("l", "a", 200)
        w.server.quiet()
        w.server.restart(*resources)
        w.server.wait(lambda: w.server.of("connected"), "the proxy to come back")
        w.server.quiet()
        assert w.server.sent() == []
        assert w.get("l", "a")[0] == w.get("l", "b")[0] == 200


def test_a_restarted_server_with_less_removes_what_is_gone(tmp_path: Path, upstream):
    resources = shop(loopback_address(), upstream)
    with world(tmp_path, *resources) as w:
        w.until_status("l", "a", 200)
        w.server.quiet()
        left = [each for each in resources if each.name not in {"b", "80/b"}]
        w.server.restart(*left)
        w.until_status("l", "b", 404)
        w.server.quiet()
        assert [(kind, removed) for kind, _, removed in w.server.sent() if removed][:2] == [
            (VIRTUAL_HOST, ["80/b"]),
            (CLUSTER, ["b"]),
        ]
        assert w.get("l", "a")[0] == 200


@both
def test_a_refused_cluster_is_quarantined_and_nothing_else_waits(tmp_path: Path, upstream, delta: bool):  # noqa: FBT001
    with world(tmp_path, *shop(loopback_address(), upstream), delta=delta) as w:
        w.until_status("l", "a", 200)
        w.server.apply(cluster("bad", bad=True), cluster("c"), endpoints("c", *upstream), host("80", "c", cluster="c"))
        w.until_status("l", "c", 200)
        w.server.quiet()
        (refused,) = w.server.of("refused")
        assert [name for name, _ in refused["culprits"]] == ["bad"]
        w.server.apply(cluster("bad"), endpoints("bad", *upstream), host("80", "bad", cluster="bad"))
        w.until_status("l", "bad", 200)


@both
def test_a_refused_change_leaves_the_last_good_version(tmp_path: Path, upstream, delta: bool):  # noqa: FBT001
    with world(tmp_path, *shop(loopback_address(), upstream), delta=delta) as w:
        w.until_status("l", "a", 200)
        w.server.apply(cluster("a", bad=True), cluster("b", timeout=9))
        w.server.wait(lambda: w.server.of("refused"), "the refusal")
        w.server.quiet()
        assert w.get("l", "a")[0] == 200
        assert len(w.server.of("refused")) == 1
        assert '"connect_timeout": "9s"' in w.envoy.admin("/config_dump?resource=dynamic_active_clusters")


@both
def test_a_host_that_steals_a_domain_is_found_by_halves(tmp_path: Path, delta: bool):  # noqa: FBT001
    first = [listener("l", loopback_address(), 0, "80"), route("80"), host("80", "a", says="a")]
    with world(tmp_path, *first, delta=delta) as w:
        w.until("l", "a", (200, "a"))
        more = [host("80", name, says=name) for name in "cdefg"]
        w.server.apply(*more, host("80", "b", says="thief", domains=("b", "a")))
        if not delta:  # one resource, refused as a whole: its last good version stays
            w.server.wait(lambda: w.server.of("refused"), "the refusal")
            w.server.quiet()
            assert w.get("l", "a") == (200, "a")
            return
        for name in "acdefg":
            w.until("l", name, (200, name))
        w.server.quiet()
        assert next(each["culprits"] for each in w.server.of("refused") if each["culprits"])[0][0] == "80/b"
        assert w.get("l", "b")[0] == 404


@both
def test_a_route_configuration_that_appears_later_gets_its_hosts(tmp_path: Path, delta: bool):  # noqa: FBT001
    address = loopback_address()
    first = [listener("l", address, 0, "80"), route("80"), host("80", "a", says="a")]
    with world(tmp_path, *first, delta=delta) as w:
        w.until("l", "a", (200, "a"))
        w.server.apply(listener("m", address, 0, "81"), route("81"), host("81", "a", says="81"))
        w.until("m", "a", (200, "81"))


@both
def test_a_listener_that_was_drained_comes_back_with_its_hosts(tmp_path: Path, delta: bool):  # noqa: FBT001
    address = loopback_address()
    first = [listener("l", address, 0, "80"), route("80"), host("80", "a", says="a")]
    with world(tmp_path, *first, delta=delta) as w:
        w.until("l", "a", (200, "a"))
        w.server.apply(remove=(first[0],))
        w.envoy.wait_for(lambda: _draining(w) == 0, lambda: "the listener to be drained")
        w.server.quiet(0.2)
        w.server.apply(first[0])
        w.until("l", "a", (200, "a"))


def _draining(w: World) -> int:
    return w.envoy.stats("listener_manager.total_listeners_")["listener_manager.total_listeners_draining"]


@both
def test_a_route_configuration_without_hosts_does_not_keep_its_listener_closed(tmp_path: Path, delta: bool):  # noqa: FBT001
    first = [listener("l", loopback_address(), 0, "80"), route("80")]
    with world(tmp_path, *first, delta=delta) as w:
        w.until("l", "a", (404, ""))
        w.server.apply(host("80", "a", says="a"))
        w.until("l", "a", (200, "a"))
        if delta:
            assert "placeholder" not in w.envoy.admin("/config_dump?resource=dynamic_route_configs")


@both
def test_a_domain_moves_between_hosts_without_a_refusal(tmp_path: Path, delta: bool):  # noqa: FBT001
    first = [listener("l", loopback_address(), 0, "80"), route("80")]
    with world(
        tmp_path, *first, host("80", "a", says="a", domains=("a", "m")), host("80", "b", says="b"), delta=delta
    ) as w:
        w.until("l", "m", (200, "a"))
        w.server.apply(host("80", "a", says="a"), host("80", "b", says="b", domains=("b", "m")))
        w.until("l", "m", (200, "b"))
        w.server.apply(host("80", "m", says="m"), remove=(host("80", "b", says="b"),))
        w.until("l", "m", (200, "m"))
        assert not w.server.of("refused")


@both
def test_a_route_moves_to_a_new_cluster_without_a_failed_request(tmp_path: Path, upstream, delta: bool):  # noqa: FBT001
    with world(tmp_path, *shop(loopback_address(), upstream), delta=delta) as w:
        w.until_status("l", "a", 200)
        for turn in range(20):
            old, new = f"v{turn}" if turn else "a", f"v{turn + 1}"
            w.server.apply(
                cluster(new),
                endpoints(new, *upstream),
                host("80", "a", cluster=new),
                remove=(cluster(old), endpoints(old, *upstream)),
            )
            for _ in range(8):
                assert w.get("l", "a")[0] == 200
        assert not w.server.of("refused")
