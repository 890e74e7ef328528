"""What an encoded route makes a real Envoy do, where the field's name alone does not say it."""

from collections.abc import Iterator
from datetime import timedelta
from http.client import HTTPConnection, HTTPResponse
from json import loads
from socket import create_connection, create_server

import pytest

from controlplane.envoy import cluster, listener
from controlplane.explain.resources import decode
from controlplane.ir.policy import Algorithm, HashCookie, LoadBalancer, TrafficPolicy
from controlplane.ir.route import (
    Cors,
    DirectResponse,
    Fault,
    Forward,
    HeaderMatch,
    HeaderOps,
    MatchKind,
    Mirror,
    Redirect,
    Rewrite,
    RouteMatch,
    StringMatch,
    WeightedCluster,
)
from controlplane.ir.service import Health, Resolution
from controlplane.model.settings import Settings
from tests.envoy import values
from tests.envoys import RunningEnvoy, Upstreams, start, static_bootstrap

EXACT, PREFIX, REGEX = MatchKind.EXACT, MatchKind.PREFIX, MatchKind.REGEX
NO_TIMEOUT = timedelta(0)


def at(path: str, *headers: HeaderMatch, kind: MatchKind = PREFIX) -> RouteMatch:
    return RouteMatch(StringMatch(kind, path), headers)


def to(name: str, **fields: object) -> Forward:
    return values.forward(name, **fields)


ROUTES = (
    values.route(to("v1", rewrite=Rewrite(path=r"/new\1")), at("/rewrite-path"), name="rewrite-path"),
    values.route(to("v1", rewrite=Rewrite(path=r"/new\1")), at("/rewrite-exact", kind=EXACT)),
    values.route(to("v1", rewrite=Rewrite(path=r"/new\1")), at("/rewrite-regex/.*", kind=REGEX)),
    values.route(to("v1", rewrite=Rewrite(prefix="/new", authority="other")), at("/rewrite-prefix")),
    values.route(to("v1", rewrite=Rewrite(regex=("^/regex/(.*)$", r"/\1/new"))), at("/regex")),
    values.route(
        Forward((WeightedCluster("v1", headers=HeaderOps(request_set=(("x-who", "destination"),))),)),
        at("/headers"),
        headers=HeaderOps(
            request_set=(("x-who", "route"), ("x-empty", "")),
            request_add=(("x-given", "added"),),
            request_remove=("x-gone",),
            response_set=(("x-upstream", "hidden"),),
        ),
    ),
    values.route(
        Forward((WeightedCluster("v1", 0), WeightedCluster("v2", 1, authority="for-v2"))), at("/weighted-authority")
    ),
    values.route(Redirect(308, scheme="https", authority="other", port=8443, prefix="/there"), at("/redirect")),
    values.route(DirectResponse(418, b"x" * 100_000), at("/long-answer")),
    values.route(DirectResponse(200, text="% & ü"), at("/text-answer")),
    values.route(to("v1"), at("/fault"), fault=Fault(abort_status=555, abort_percent=100)),
    values.route(to("v1"), at("/never-fault"), fault=Fault(abort_status=555, abort_percent=0)),
    values.route(
        to("v1"),
        at("/cors"),
        cors=Cors((StringMatch(EXACT, "http://a"),), methods=("GET", "PUT"), max_age=timedelta(1)),
    ),
    values.route(to("v2"), at("/without", HeaderMatch("x-skip", StringMatch(EXACT, "yes"), invert=True))),
    values.route(to("v1"), at("/without")),
    values.route(to("v1", mirrors=(Mirror("mirrored"),)), at("/mirror")),
    values.route(to("sticky", hash_keys=(HashCookie("user", "/", timedelta(hours=1)),)), at("/sticky")),
    values.route(to("nobody"), at("/nobody")),
    values.route(to("draining"), at("/draining")),
    values.route(to("silent", timeout=timedelta(seconds=1)), at("/silent/soon")),
    values.route(to("silent"), at("/silent/unlimited")),
    values.route(to("silent", timeout=timedelta(seconds=20)), at("/silent")),
    values.route(to("v1"), at("/(a{1,50}|b{1,50}|c{1,50}|d{1,50}){1,3}", kind=REGEX), name="long regex"),
    values.route(to("v1"), at("/", HeaderMatch("x-any", StringMatch(PREFIX, "")))),
)


@pytest.fixture(scope="module")
def upstreams() -> Iterator[Upstreams]:
    with Upstreams() as running:
        yield running


@pytest.fixture(scope="module")
def silent() -> Iterator[tuple[str, int]]:
    """A place that takes connections and never answers."""
    with create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()


@pytest.fixture(scope="module")
def envoy(upstreams: Upstreams, silent: tuple[str, int]) -> Iterator[RunningEnvoy]:
    places = {name: upstreams.add(name) for name in ("v1", "v2", "mirrored", "spare")}
    resources = [
        listener.encode(
            values.listener(values.http_chain(values.virtual_host(*ROUTES))), Settings(access_log_file="/dev/stderr")
        ),
        *(_cluster(name, values.endpoint(*places[name])) for name in ("v1", "v2", "mirrored")),
        _cluster("nobody"),
        _cluster("silent", values.endpoint(*silent)),
        _cluster(
            "draining",
            values.endpoint(*places["v1"], health=Health.DRAINING),
            values.endpoint(*places["v2"], health=Health.UNHEALTHY),
            values.endpoint(*places["spare"]),
        ),
        _cluster(
            "sticky",
            *(values.endpoint(*places[name]) for name in ("v1", "v2", "spare")),
            policy=TrafficPolicy(load_balancer=LoadBalancer(Algorithm.MAGLEV)),
        ),
    ]
    with start(static_bootstrap(decode(resources)[0])) as running:
        yield running


def _cluster(name: str, *endpoints, **fields):
    found = values.cluster(name, Resolution.STATIC, endpoints=tuple(endpoints), **fields)
    return cluster.encode(found, values.SETTINGS)


class Answer:
    def __init__(self, response: HTTPResponse) -> None:
        self.status = response.status
        self.response_headers = response.headers
        self.body = response.read()

    @property
    def echo(self) -> dict[str, object]:
        found: dict[str, object] = loads(self.body)
        return found

    @property
    def upstream(self) -> object:
        return self.echo["upstream"]

    @property
    def headers(self) -> dict[str, str]:
        found: dict[str, str] = dict(self.echo["headers"])  # type: ignore[call-overload]
        return found


def call(envoy: RunningEnvoy, path: str, method: str = "GET", **headers: str) -> Answer:
    connection = HTTPConnection(*envoy.address("test"), timeout=10)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        return Answer(connection.getresponse())
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("/rewrite-path/a?q=1", r"/new\1?q=1"),
        ("/rewrite-exact?q=1", r"/new\1?q=1"),
        ("/rewrite-regex/a?q=1", r"/new\1?q=1"),
        ("/rewrite-prefix/a?q=1", "/new/a?q=1"),
        ("/regex/a?q=1", "/a/new?q=1"),
    ],
)
def test_rewrites_keep_the_query(envoy: RunningEnvoy, asked: str, sent: str) -> None:
    assert call(envoy, asked).echo["path"] == sent


def test_rewritten_authority(envoy: RunningEnvoy) -> None:
    assert call(envoy, "/rewrite-prefix").headers["host"] == "other"


def test_a_single_destination_has_the_last_word_on_headers(envoy: RunningEnvoy) -> None:
    answer = call(envoy, "/headers", x_given="mine", x_gone="mine")
    received = answer.echo["headers"]
    assert isinstance(received, list)
    assert ["x-who", "destination"] in received
    assert ["x-empty", ""] in received
    assert [value for name, value in received if name == "x-given"] in (["mine", "added"], ["mine,added"])
    assert "x-gone" not in answer.headers
    assert answer.response_headers["x-upstream"] == "hidden"


def test_one_of_several_destinations_sets_its_own_host(envoy: RunningEnvoy) -> None:
    answer = call(envoy, "/weighted-authority")
    assert (answer.upstream, answer.headers["host"]) == ("v2", "for-v2")


def test_redirect(envoy: RunningEnvoy) -> None:
    answer = call(envoy, "/redirect/a?q=1")
    assert (answer.status, answer.response_headers["location"]) == (308, "https://other:8443/there/a?q=1")


def test_answers_may_be_longer_than_envoys_default(envoy: RunningEnvoy) -> None:
    answer = call(envoy, "/long-answer")
    assert (answer.status, len(answer.body)) == (418, 100_000)


def test_texts_are_answered_as_they_are_written(envoy: RunningEnvoy) -> None:
    assert call(envoy, "/text-answer").body.decode() == "% & ü"


def test_faults(envoy: RunningEnvoy) -> None:
    assert call(envoy, "/fault").status == 555
    assert call(envoy, "/never-fault").status == 200


def test_preflights(envoy: RunningEnvoy, upstreams: Upstreams) -> None:
    before = upstreams.requests["v1"]
    answer = call(envoy, "/cors", "OPTIONS", origin="http://a", access_control_request_method="PUT")
    assert answer.response_headers["access-control-allow-methods"] == "GET,PUT"
    assert answer.response_headers["access-control-max-age"] == "86400"
    assert upstreams.requests["v1"] == before
    other = call(envoy, "/cors", "OPTIONS", origin="http://b", access_control_request_method="PUT")
    assert (other.upstream, "access-control-allow-origin" in other.response_headers) == ("v1", False)


def test_an_absent_header_is_without_the_value(envoy: RunningEnvoy) -> None:
    assert call(envoy, "/without").upstream == "v2"
    assert call(envoy, "/without", x_skip="no").upstream == "v2"
    assert call(envoy, "/without", x_skip="yes").upstream == "v1"


def test_an_empty_prefix_asks_for_the_header(envoy: RunningEnvoy) -> None:
    assert call(envoy, "/empty-prefix", x_any="x").status == 200
    assert call(envoy, "/empty-prefix").status == 404


def test_mirrors_get_a_copy(envoy: RunningEnvoy, upstreams: Upstreams) -> None:
    assert call(envoy, "/mirror").upstream == "v1"
    envoy.wait_for(lambda: upstreams.requests["mirrored"] == 1, lambda: "the mirrored request")


def test_a_cookie_with_a_time_to_live_is_made_and_sticks(envoy: RunningEnvoy) -> None:
    first = call(envoy, "/sticky")
    cookie = first.response_headers["set-cookie"]
    assert "Max-Age=3600" in cookie
    assert "Path=/" in cookie
    again = {call(envoy, "/sticky", cookie=cookie.split(";")[0]).upstream for _ in range(10)}
    assert again == {first.upstream}


def test_no_endpoint_no_answer(envoy: RunningEnvoy) -> None:
    assert call(envoy, "/nobody").status == 503


def test_draining_and_sick_endpoints_get_nothing_new(envoy: RunningEnvoy) -> None:
    assert {call(envoy, "/draining").upstream for _ in range(12)} == {"spare"}


def test_regexes_of_ordinary_size_are_taken(envoy: RunningEnvoy) -> None:
    assert call(envoy, "/" + "b" * 40).upstream == "v1"


def test_access_log_says_route_and_flags(envoy: RunningEnvoy) -> None:
    call(envoy, "/rewrite-path/logged")
    call(envoy, "/nobody/logged")

    def lines() -> list[str]:
        return [line for line in envoy.output().splitlines() if "logged" in line]

    envoy.wait_for(lambda: len(lines()) == 2, lambda: "two lines")
    forwarded, failed = lines()
    assert '"GET /rewrite-path/logged HTTP/1.1" 200 - via_upstream' in forwarded
    assert forwarded.endswith(" rewrite-path")
    assert '"GET /nobody/logged HTTP/1.1" 503 UH no_healthy_upstream' in failed


def test_old_clients_are_served(envoy: RunningEnvoy) -> None:
    with create_connection(envoy.address("test"), timeout=10) as connection:
        connection.sendall(b"GET /without HTTP/1.0\r\nHost: a\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.0 200 ")


def test_a_timeout_ends_a_call(envoy: RunningEnvoy) -> None:
    assert call(envoy, "/silent/soon").status == 504


@pytest.mark.parametrize(
    ("path", "status", "details"),  # 14 UNAVAILABLE is what any timeout of a route is for gRPC, 4 DEADLINE_EXCEEDED
    [("/silent/deadline", "14", "response_timeout"), ("/silent/unlimited", "4", "max_duration_timeout")],
    ids=["route with a timeout", "route without"],
)
def test_a_callers_grpc_deadline_ends_a_call_before_the_timeout(
    envoy: RunningEnvoy, path: str, status: str, details: str
) -> None:
    answer = call(envoy, path, "POST", content_type="application/grpc", grpc_timeout="100m")
    assert answer.response_headers["grpc-status"] == status

    def logged() -> list[str]:
        return [line for line in envoy.output().splitlines() if path in line]

    envoy.wait_for(lambda: len(logged()) == 1, lambda: "a line")
    assert f" {details} " in logged()[0]
