"""A cluster read over real HTTP, on a bad line."""

import asyncio

import pytest
from aiohttp import web

from controlplane.model.kinds import BY_NAME
from controlplane.model.problem import ObjectRef
from controlplane.sources.kubernetes.resource import Resource
from tests.conftest import Size
from tests.sources.kubernetes.cluster import (
    NAMESPACES,
    NODES,
    PODS,
    ROUTES,
    RULES,
    SECRETS,
    SERVICES,
    SLICES,
    Cluster,
    status,
)
from tests.sources.kubernetes.serving import AUDITED, followed, world

SPEC = {"hosts": ["a"], "http": [{"route": [{"destination": {"host": "a"}}]}]}


def small() -> Cluster:
    cluster = Cluster()
    cluster.install(RULES)
    for name in "abcdefg":
        cluster.put(SERVICES, name, spec={"clusterIP": "10.0.0.1", "ports": [{"port": 80}]})
        cluster.put(SLICES, name, metadata={"labels": {"kubernetes.io/service-name": name}}, addressType="IPv4")
        cluster.put(PODS, name, spec={"containers": []}, status={"podIP": "10.1.0.1"})
    cluster.put(NAMESPACES, "default")
    cluster.put(NODES, "node", status={"images": []})
    cluster.put(RULES, "rule", spec=SPEC)
    return cluster


async def test_the_first_batch_is_everything() -> None:
    async with followed(small()) as seen:
        await seen.until(seen.synced.is_set)
        assert seen.batches == 1
        assert seen.names(SERVICES) == seen.names(PODS) == seen.names(SLICES) == set("abcdefg")
        assert seen.names(RULES) == {"rule"}
        assert ObjectRef("", "Node", "", "node") in seen.applied
        assert ObjectRef("", "Namespace", "", "default") in seen.applied
        assert seen.problems == ()
        assert all(standing.state in {"watching", "listing"} for standing in seen.source.standings())


async def test_an_empty_cluster_is_a_batch_too() -> None:
    async with followed() as seen:
        await seen.until(seen.synced.is_set)
        assert seen.applied == {}


async def test_changes_come_while_it_is_watched() -> None:
    async with followed(small()) as seen:
        await seen.until(seen.synced.is_set)
        seen.cluster.put(SERVICES, "new", spec={"clusterIP": "10.0.0.2"})
        seen.cluster.delete(RULES, "rule")
        await seen.until(lambda: "new" in seen.names(SERVICES) and not seen.names(RULES))
        assert seen.server.lists(SERVICES) == 1


async def test_it_knows_whether_a_version_was_read_and_taken() -> None:
    async with followed(small()) as seen:
        ref = ObjectRef("", "Service", "default", "a")
        assert not seen.source.is_current(None, "")
        await seen.until(seen.synced.is_set)
        await seen.until(lambda: seen.source.is_current(None, ""))
        version = seen.cluster.put(SERVICES, "a", spec={"clusterIP": "10.0.0.9"})["metadata"]["resourceVersion"]
        assert not seen.source.is_current(ref, version)
        await seen.until(lambda: seen.source.is_current(ref, version))
        assert seen.applied[ref].spec.cluster_ip == "10.0.0.9"
        seen.cluster.delete(SERVICES, "a")
        assert not seen.source.is_current(ref, "")
        await seen.until(lambda: seen.source.is_current(ref, ""))
        assert ref not in seen.applied


async def test_nothing_is_served_before_every_kind_was_listed() -> None:
    async with world(small()) as seen:
        allowed = asyncio.Event()

        async def slow(request: web.BaseRequest) -> None:
            if request.path == PODS.path and "continue" in request.query:
                await allowed.wait()

        seen.server.fault = slow
        task = asyncio.get_running_loop().create_task(seen.follow())
        await seen.until(lambda: len(seen.server.requests) > 12)
        await asyncio.sleep(0.3)
        assert not seen.synced.is_set()
        allowed.set()
        await seen.until(seen.synced.is_set)
        assert seen.names(PODS) == set("abcdefg")
        task.cancel()


async def test_an_api_server_that_does_not_know_its_crds_yet_is_waited_for() -> None:
    async with world(small()) as seen:
        ready = False

        async def beginning(request: web.BaseRequest) -> web.Response | None:
            return web.Response(status=500 if not ready else 200) if request.path == "/readyz" else None

        seen.server.fault = beginning
        del seen.cluster.kinds[RULES.path]
        task = asyncio.get_running_loop().create_task(seen.follow())
        await seen.until(lambda: len(seen.server.requests) > 3)
        assert not seen.synced.is_set()
        seen.cluster.install(RULES)
        ready = True
        await seen.until(seen.synced.is_set)
        assert seen.batches == 1
        assert seen.names(RULES) == {"rule"}
        task.cancel()


async def test_a_kind_that_may_not_be_read_keeps_us_from_serving_and_is_said() -> None:
    async with followed(small()) as seen:
        forbidden = True

        async def refuse(request: web.BaseRequest) -> web.Response | None:
            if request.path == RULES.path and forbidden:
                return web.json_response(status(403, "Forbidden", "no"), status=403)
            return None

        seen.server.fault = refuse
        await seen.until(lambda: sum(path == RULES.path for path, _ in seen.server.requests) > 5)
        assert not seen.synced.is_set()
        assert any(one.state == "denied" for one in seen.source.standings())
        forbidden = False
        await seen.until(seen.synced.is_set)
        assert seen.names(RULES) == {"rule"}
        forbidden = True
        seen.line.cut()
        await seen.until(lambda: seen.codes() == {"AccessDenied"})
        assert seen.names(RULES) == {"rule"}
        forbidden = False
        await seen.until(lambda: seen.codes() == set())


async def test_a_crd_that_comes_later_is_picked_up_and_one_that_goes_is_let_go() -> None:
    async with followed(small()) as seen:
        await seen.until(seen.synced.is_set)
        seen.cluster.put(ROUTES, "route")
        seen.cluster.install(ROUTES)
        await seen.until(lambda: "KindNotSupportedYet" in seen.codes())
        assert ObjectRef("gateway.networking.k8s.io", "HTTPRoute", "default", "route") in seen.applied
        seen.cluster.uninstall(ROUTES)
        await seen.until(lambda: "KindNotSupportedYet" not in seen.codes())
        await seen.until(lambda: all("httproutes" not in one.resource for one in seen.source.standings()))
        assert seen.names(SERVICES) == set("abcdefg")
        seen.cluster.put(ROUTES, "again")
        seen.cluster.install(ROUTES)
        await seen.until(lambda: "again" in {ref.name for ref in seen.applied})


async def test_a_crd_that_vanishes_with_its_objects_unseen_is_asked_for_twice() -> None:
    async with followed(small()) as seen:
        await seen.until(seen.synced.is_set)
        there = seen.cluster.objects.pop(RULES)
        del seen.cluster.kinds[RULES.path]
        seen.line.cut()
        await seen.until(lambda: "NotServed" in seen.codes())
        assert seen.names(RULES) == {"rule"}
        seen.cluster.objects[RULES] = there
        seen.cluster.install(RULES)
        await seen.until(lambda: seen.codes() == set())
        assert seen.removed == []
        seen.cluster.objects.pop(RULES)
        del seen.cluster.kinds[RULES.path]
        await seen.until(lambda: not seen.names(RULES))


async def test_an_api_server_that_is_away_changes_nothing_and_is_noticed_when_back() -> None:
    async with followed(small()) as seen:
        await seen.until(seen.synced.is_set)
        await seen.line.close()
        await seen.until(lambda: seen.codes() == {"ApiServerAway"})
        before = seen.access.requests
        await asyncio.sleep(1.0)
        assert seen.access.requests - before < 40, "one asks while nobody answers"
        seen.cluster.put(SERVICES, "new", spec={"clusterIP": "10.0.0.2"})
        seen.cluster.delete(SERVICES, "a")
        await seen.line.open()
        await seen.until(lambda: seen.names(SERVICES) == {*"bcdefg", "new"})
        await seen.until(lambda: seen.codes() == set())
        assert [ref.name for ref in seen.removed] == ["a"]
        assert seen.server.lists(SERVICES) == 1, "the watches went on where they were"


async def test_compaction_while_the_line_is_cut() -> None:
    async with followed(small()) as seen:
        await seen.until(seen.synced.is_set)
        await seen.line.close()
        await seen.until(lambda: bool(seen.access.away))
        seen.cluster.delete(SERVICES, "a")
        seen.cluster.put(SERVICES, "b", spec={"clusterIP": "10.0.0.9"})
        seen.cluster.compact()
        await seen.line.open()
        await seen.until(lambda: seen.names(SERVICES) == set("bcdefg"))
        await seen.until(lambda: seen.applied[ObjectRef("", "Service", "default", "b")].spec.cluster_ip == "10.0.0.9")
        assert [ref.name for ref in seen.removed] == ["a"]


async def test_a_connection_that_is_half_open_is_noticed() -> None:
    async with followed(small()) as seen:
        await seen.until(seen.synced.is_set)
        await asyncio.sleep(0.1)
        seen.line.freeze()
        seen.cluster.put(SERVICES, "new", spec={"clusterIP": "10.0.0.2"})
        await seen.until(lambda: "new" in seen.names(SERVICES), seconds=5)
        assert seen.server.lists(SERVICES) == 1
        assert seen.removed == []


@pytest.mark.parametrize("bookmarks", [True, False])
async def test_watches_end_and_begin_again_without_any_list(*, bookmarks: bool) -> None:
    async with followed(small()) as seen:
        seen.server.bookmarks = bookmarks
        await seen.until(seen.synced.is_set)
        watches = lambda: sum(path == SERVICES.path and "watch" in query for path, query in seen.server.requests)  # noqa: E731
        await seen.until(lambda: watches() >= 3)
        assert seen.server.lists(SERVICES) == 1
        assert seen.batches == 1, "nothing changed, nothing is told"


async def test_an_event_that_is_lost_is_found_and_what_it_said_is_read() -> None:
    async with followed(small()) as seen:
        await seen.until(seen.synced.is_set)
        seen.server.lost = "a"
        seen.cluster.put(SERVICES, "a", spec={"clusterIP": "10.0.0.9"})
        seen.cluster.delete(SLICES, "a")
        seen.cluster.put(SERVICES, "b", spec={"clusterIP": "10.0.0.8"})
        service = ObjectRef("", "Service", "default", "a")
        await seen.until(lambda: seen.applied[service].spec.cluster_ip == "10.0.0.9")
        await seen.until(lambda: seen.names(SLICES) == set("bcdefg"))
        found = {one.resource: one.repairs for one in seen.source.standings() if one.repairs}
        assert found == {"services": 1, "endpointslices.discovery.k8s.io": 1}


async def test_audits_of_a_good_watch_change_nothing() -> None:
    async with followed(small()) as seen:
        await seen.until(seen.synced.is_set)
        for number in range(100):
            seen.cluster.put(SERVICES, "abcdefg"[number % 7], spec={"clusterIP": f"10.0.1.{number}"})
            await asyncio.sleep(0.02)
        await seen.until(lambda: sum(query.get("limit") == AUDITED for _, query in seen.server.requests) > 12)
        assert all(one.repairs == 0 for one in seen.source.standings())
        assert seen.server.lists(SERVICES) == 1


async def test_throttling_is_obeyed() -> None:
    async with followed(small()) as seen:
        times: list[float] = []

        async def busy(request: web.BaseRequest) -> web.Response | None:
            if request.path != SERVICES.path or len(times) > 1:
                return None
            times.append(asyncio.get_running_loop().time())
            return web.json_response(status(429, "TooManyRequests", "x"), status=429, headers={"Retry-After": "1"})

        seen.server.fault = busy
        await seen.until(seen.synced.is_set)
        assert times[1] - times[0] >= 1.0
        assert seen.names(SERVICES) == set("abcdefg")


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b'{"kind":"Status"}', b'{"kind":"ServiceList","items":null}'])
async def test_what_is_no_list_is_not_taken_for_an_empty_one(body: bytes) -> None:
    async with followed(small()) as seen:
        await seen.until(seen.synced.is_set)
        lying = 3

        async def lie(request: web.BaseRequest) -> web.Response | None:
            nonlocal lying
            if request.path != SERVICES.path or request.query.get("limit") in {None, AUDITED} or not lying:
                return None
            lying -= 1
            return web.Response(body=body)

        seen.cluster.compact()
        seen.cluster.revision += 5
        seen.cluster.compact()
        seen.server.fault = lie
        seen.line.cut()
        await seen.until(lambda: lying == 0)
        await seen.until(lambda: seen.server.lists(SERVICES) >= 5)
        assert seen.removed == []


async def test_an_empty_list_after_a_full_one_is_held() -> None:
    async with followed(small()) as seen:
        await seen.until(seen.synced.is_set)
        kept, seen.cluster.objects = seen.cluster.objects, {}
        seen.cluster.revision += 5
        seen.cluster.compact()
        seen.line.cut()
        await seen.until(lambda: "RemovalsHeld" in seen.codes())
        seen.cluster.objects = kept
        await seen.until(lambda: seen.codes() == set())
        assert seen.removed == []
        seen.cluster.objects = {}
        seen.cluster.revision += 5
        seen.cluster.compact()
        await seen.until(lambda: seen.applied == {})


async def test_answers_cut_at_every_byte(size: Size) -> None:
    """Of everything that is said from the first word on."""
    async with world(small()) as seen:
        task = asyncio.get_running_loop().create_task(seen.follow())
        await seen.until(seen.synced.is_set)
        whole = seen.line.passed
        task.cancel()
    step = max(1, whole // size(20, whole))
    for left in range(1, whole, step):
        async with followed(small()) as seen:
            seen.line.left = left
            await seen.until(seen.synced.is_set)
            assert seen.names(SERVICES) == seen.names(PODS) == seen.names(SLICES) == set("abcdefg")
            await seen.until(lambda seen=seen: seen.problems == ())  # type: ignore[misc]


async def test_a_watch_cut_in_the_middle_of_an_event() -> None:
    async with followed(small()) as seen:
        await seen.until(seen.synced.is_set)
        for number in range(12):
            seen.line.left = 20 * number + 1
            seen.cluster.put(SERVICES, "new", spec={"clusterIP": f"10.0.0.{number + 1}"})
            await seen.until(
                lambda number=number: (  # type: ignore[misc]
                    (found := seen.applied.get(ObjectRef("", "Service", "default", "new"))) is not None
                    and found.spec.cluster_ip == f"10.0.0.{number + 1}"
                )
            )
        assert seen.removed == []


async def test_bursts_are_one_batch_and_endpoints_do_not_wait_for_others() -> None:
    async with followed(small()) as seen:
        await seen.until(seen.synced.is_set)
        before = seen.batches
        for number in range(200):
            seen.cluster.put(SERVICES, f"s{number}", spec={"clusterIP": "10.0.0.2"})
        await seen.until(lambda: len(seen.names(SERVICES)) == 207)
        assert seen.batches - before <= 5


def secrets(namespace: str) -> Resource:
    known = BY_NAME["", "Secret"]
    return Resource(group="", version="v1", plural="secrets", kind="Secret", known=known, namespace=namespace)


async def test_what_is_not_read_everywhere_is_read_where_it_is_asked_for() -> None:
    cluster = small()
    cluster.put(SECRETS, "mine", "here", data={})
    cluster.put(SECRETS, "other", "elsewhere", data={})
    async with followed(cluster) as seen:
        await seen.until(seen.synced.is_set)
        assert seen.names(SECRETS) == set()
        await asyncio.wait_for(seen.source.also(secrets("here")), 5)
        assert seen.names(SECRETS) == {"mine"}, "handed on before it is told to be there"
        await seen.source.also(secrets("here"))
        cluster.put(SECRETS, "new", "here", data={})
        await seen.until(lambda: seen.names(SECRETS) == {"mine", "new"})
        assert not [path for path, _ in seen.server.requests if path == SECRETS.path], "never of the whole cluster"


async def test_what_cannot_be_read_at_first_is_waited_for() -> None:
    cluster = small()
    cluster.put(SECRETS, "mine", "here", data={})
    async with followed(cluster) as seen:
        failures = 0

        async def fail(request: web.BaseRequest) -> web.Response | None:
            nonlocal failures
            failures += "secrets" in request.path
            return web.Response(status=500) if "secrets" in request.path and failures < 4 else None

        seen.server.fault = fail
        await seen.until(seen.synced.is_set)
        await asyncio.wait_for(seen.source.also(secrets("here")), 5)
        assert seen.names(SECRETS) == {"mine"}


async def test_what_may_not_be_read_where_it_is_asked_for_keeps_nobody_waiting() -> None:
    async with followed(small()) as seen:

        async def refuse(request: web.BaseRequest) -> web.Response | None:
            return web.json_response(status(403, "Forbidden", "no"), status=403) if "secrets" in request.path else None

        seen.server.fault = refuse
        await seen.until(seen.synced.is_set)
        await asyncio.wait_for(seen.source.also(secrets("here")), 5)
        await seen.until(lambda: seen.codes() == {"AccessDenied"})
        assert [problem.origin.ref.name for problem in seen.problems] == ["secrets in here"]
        seen.server.fault = None
        await seen.until(lambda: seen.codes() == set())


async def test_lists_are_asked_for_a_few_at_a_time() -> None:
    async with followed(small()) as seen:
        at_once = most = 0

        async def count(request: web.BaseRequest) -> None:
            nonlocal at_once, most
            if "watch" in request.query or request.path == "/apis":
                return
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.02)
            at_once -= 1

        seen.server.fault = count
        await seen.until(seen.synced.is_set)
        assert most <= 4
