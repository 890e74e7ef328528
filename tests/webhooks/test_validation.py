"""The validation webhook: what is refused and why, what is warned of, and whom an API server asks."""

from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from itertools import product
from typing import Any

import msgspec
import pytest

from controlplane.base.prometheus import page
from controlplane.compile.whatif import reported_of
from controlplane.model.kinds import MESH_KINDS
from controlplane.model.meta import ref_of
from controlplane.model.problem import Level, Origin, Problem
from controlplane.runtime.clock import SystemClock
from controlplane.runtime.https import HttpsServer, Request
from controlplane.runtime.tasks import Supervisor
from controlplane.webhooks.admission import LIMITS, Asked, Kind, Verdict
from controlplane.webhooks.configurations import Service
from controlplane.webhooks.injection.settings import Selector
from controlplane.webhooks.metrics import validation_families
from controlplane.webhooks.validation.configuration import validation
from controlplane.webhooks.validation.judging import Consequences, judged
from controlplane.webhooks.validation.webhook import ValidationWebhook
from tests.model.documents import decode, documents
from tests.runtime.test_https import asked, generation
from tests.webhooks.test_webhook import review
from tests.world import World, service

GOOD: dict[str, Any] = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "reviews", "namespace": "default"},
    "spec": {"hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "reviews"}}]}]},
}
TWICE_BAD = {
    **GOOD,
    "spec": {"hosts": ["a b"], "http": [{"timeout": "1 year", "route": [{"destination": {"host": "x"}}]}]},
}


def changed(**metadata: Any) -> dict[str, Any]:
    return {**TWICE_BAD, "metadata": {**GOOD["metadata"], **metadata}}


def question(new: Any, old: Any = None, operation: str = "", **more: Any) -> Asked:
    document = new or old
    group, _, version = document["apiVersion"].rpartition("/")
    meta = document["metadata"]
    return Asked(
        uid="1",
        kind=Kind(document["kind"], group, version),
        operation=operation or ("UPDATE" if old else "CREATE"),
        namespace=meta.get("namespace", "default"),
        name=meta.get("name", ""),
        object=msgspec.Raw(msgspec.json.encode(new)),
        old_object=msgspec.Raw(msgspec.json.encode(old)),
        **more,
    )


def test_a_good_object_is_taken_without_a_word() -> None:
    assert judged(question(GOOD)) == Verdict()


def test_all_errors_are_told_at_once_with_field_and_reason() -> None:
    verdict = judged(question(TWICE_BAD))
    first, *reasons = verdict.message.splitlines()
    assert first == "VirtualService default/reviews has 2 errors:"
    assert [reason.strip().partition(":")[0] for reason in reasons] == ["spec.http[0].timeout", "spec.hosts[0]"]
    assert all(reason.endswith(")") for reason in reasons)


@pytest.mark.parametrize("document", documents(), ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_what_is_taken_here_is_what_is_read_without_an_error(document: dict[str, Any]) -> None:
    """Both ways, each field spoiled in turn."""
    for field in (None, *document["spec"]):
        spoiled = deepcopy(document)
        if field is not None:
            spoiled["spec"][field] = {"nothing": ["of", "the", "kind"]}
        is_good = not any(problem.level is Level.ERROR for problem in decode(spoiled).problems)
        assert judged(question(spoiled)).allowed is is_good


def test_many_errors_are_counted_and_some_are_told() -> None:
    spec = {"hosts": ["reviews"], "http": [{"timeout": "x"} for _ in range(300)]}
    message = judged(question({**GOOD, "spec": spec})).message
    assert len(message) < 9000
    assert message.splitlines()[-1].startswith("  and ")
    assert len(message.splitlines()) == 22


def test_a_bad_object_may_be_labelled_and_may_leave() -> None:
    """It was there before the check was. Only a change of what it says is held against whoever makes it."""
    assert judged(question(changed(labels={"a": "b"}), TWICE_BAD)).allowed
    assert judged(question(changed(labels={"a": "b"}), TWICE_BAD)).warnings
    assert judged(question(changed(deletionTimestamp="2026-01-01T00:00:00Z", finalizers=[]), GOOD)).allowed
    assert not judged(question(TWICE_BAD, GOOD)).allowed
    assert not judged(question(changed(annotations={"istio.io/dry-run": "x"}), TWICE_BAD)).allowed
    mended = deepcopy(TWICE_BAD)
    mended["spec"]["hosts"] = ["reviews"]
    assert judged(question(mended, TWICE_BAD)).message.count("\n") == 1, "half mended is not mended"


@pytest.mark.parametrize(
    "more", [{"operation": "DELETE"}, {"operation": "CONNECT"}, {"sub_resource": "status"}], ids=str
)
def test_what_changes_nothing_that_is_read_is_not_judged(more: dict[str, str]) -> None:
    assert judged(question(None if more.get("operation") == "DELETE" else TWICE_BAD, GOOD, **more)) == Verdict()


def test_kinds_that_nobody_reads_yet_are_not_refused() -> None:
    def must_not(*_: Any) -> Any:
        raise AssertionError

    telemetry = {"apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry", "metadata": {"name": "t"}, "spec": {}}
    verdict = judged(question(telemetry), must_not)
    assert verdict.allowed
    assert "not supported yet" in verdict.warnings[0]


def test_what_will_have_no_effect_is_a_warning() -> None:
    """From the object alone."""
    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 8080}, "hosts": ["*"]}
    gateway = {**GOOD, "kind": "Gateway", "spec": {"selector": {"istio": "ingressgateway"}, "servers": [server]}}
    verdict = judged(question(gateway))
    assert verdict.allowed
    assert [one.partition(":")[0] for one in verdict.warnings] == ["spec.servers[0].port.targetPort"]


# With a mesh to ask


def mesh() -> World:
    world = World().apply(service("reviews"))
    world.sidecar(labels={"app": "front"})
    return world


def test_the_mesh_says_what_an_object_alone_does_not() -> None:
    world = mesh()
    judge = partial(judged, consequences=partial(reported_of, world.graph))
    assert judge(question(GOOD)).warnings == ()
    lost = deepcopy(GOOD)
    lost["spec"]["http"][0]["route"][0]["destination"]["subset"] = "v9"
    lost["spec"]["gateways"] = ["mesh", "nowhere"]
    verdict = judge(question(lost))
    assert verdict.allowed
    assert [one.partition(":")[0] for one in verdict.warnings] == [
        "spec.gateways",
        "spec.http[0].route[0].destination.subset",
    ]
    assert judge(question(lost, lost)).warnings == verdict.warnings, "as often as it is applied"
    assert world.problems() == [], "nothing that is served has noticed"


def test_who_has_no_time_to_ask_the_mesh_takes_it_as_it_is() -> None:
    world = mesh()
    lost = deepcopy(GOOD)
    lost["spec"]["gateways"] = ["mesh", "nowhere"]
    hurried = partial(reported_of, world.graph, is_late=lambda: True)
    assert judged(question(lost), hurried) == Verdict()
    assert judged(question(lost), partial(reported_of, world.graph)).warnings, "and it can be asked again"


def test_a_host_that_somebody_has_already() -> None:
    world = mesh()
    world.apply(msgspec.json.encode({**GOOD, "metadata": {"name": "a-first", "namespace": "default"}}).decode())
    verdict = judged(question(GOOD), partial(reported_of, world.graph))
    assert verdict.allowed
    assert "VirtualService default/a-first" in verdict.warnings[0]


def test_nobody_asks_the_mesh_of_what_is_refused() -> None:
    def must_not(*_: Any) -> Any:
        raise AssertionError

    assert not judged(question(TWICE_BAD), must_not).allowed


# Over HTTPS

PATH = "/validate/4f1c"


async def test_an_api_server_is_answered() -> None:
    webhook = ValidationWebhook(PATH)
    kind = {"group": "networking.istio.io", "version": "v1", "kind": "VirtualService"}
    body = msgspec.json.encode(review(TWICE_BAD, kind=kind, namespace="default", name="reviews"))
    server = HttpsServer(webhook.routes(), generation(), LIMITS)
    async with Supervisor(SystemClock()) as tasks:
        port = await server.listen(tasks, "127.0.0.1", 0)
        status, found = await asked(port, f"POST {PATH} HTTP/1.1", body)
        other, _ = await asked(port, "POST /validate HTTP/1.1", body)
        await server.stop(0.1)
    assert (status, other) == (200, 404)
    assert found["response"]["allowed"] is False
    assert found["response"]["status"]["message"].startswith("VirtualService default/reviews has 2 errors:\n")
    assert webhook.counts == {"refused": 1}
    counted = page(validation_families(webhook)).decode().splitlines()
    assert {"galley_validation_passed 0", "galley_validation_failed 1"} <= set(counted)


async def test_what_was_applied_just_before_is_no_reason_for_a_warning() -> None:
    """One file with a DestinationRule and the routes to its subsets: the rule is read a moment after it was stored."""
    missing = Problem(
        "ReferencedResourceNotFound", Level.WARNING, Origin(ref_of(decode(GOOD).value), "spec"), "not yet"
    )
    found = iter([[missing], []])
    assert await warned_of(lambda _ref, _value: next(found)) == []
    assert next(found, None) is None
    assert len(await warned_of(lambda _ref, _value: [missing])) == 1


async def warned_of(consequences: Consequences) -> list[str]:
    (route,) = ValidationWebhook(PATH, consequences).routes()
    kind = {"group": "networking.istio.io", "version": "v1", "kind": "VirtualService"}
    body = msgspec.json.encode(review(GOOD, kind=kind, namespace="default", name="reviews"))

    async def read() -> bytes:
        return body

    answer = await route.handler(Request("POST", PATH, {}, "", b"", read, LIMITS))
    warnings: list[str] = msgspec.json.decode(answer.body)["response"].get("warnings", [])
    return warnings


# Whom an API server asks

SERVICE = Service("lateen-system", "lateend", "/validate/secret")


@pytest.mark.parametrize(
    ("revision", "names", "ours"),
    [
        ("default", (), {None, "default"}),
        ("canary", (), {"canary"}),
        ("canary", ("next", "default"), {None, "default", "canary", "next"}),
    ],
)
def test_one_revision_judges_an_object_and_nobody_must(revision: str, names: tuple[str, ...], ours: set[Any]) -> None:
    made = validation("lateen-validator", revision, names, SERVICE, b"PEM")
    for label in (None, "default", "canary", "next", "other"):
        labels = {} if label is None else {"istio.io/rev": label}
        asking = [one["name"] for one in made["webhooks"] if _selects(one["objectSelector"], labels)]
        assert len(asking) == (label in ours), label
    assert {one["failurePolicy"] for one in made["webhooks"]} == {"Ignore"}
    assert {one["timeoutSeconds"] for one in made["webhooks"]} == {5}
    assert {one["sideEffects"] for one in made["webhooks"]} == {"None"}


def _selects(selector: Any, labels: Mapping[str, str]) -> bool:
    return msgspec.convert(selector, Selector).matches(labels)


def test_it_is_asked_of_every_kind_of_the_mesh() -> None:
    (hook, *_) = validation("lateen-validator", "default", (), SERVICE, b"PEM")["webhooks"]
    named = {
        (group, plural) for rule in hook["rules"] for group, plural in product(rule["apiGroups"], rule["resources"])
    }
    assert named == {(kind.group, kind.plural) for kind in MESH_KINDS}
