"""The webhook over HTTPS, as an API server asks it."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controlplane.base.prometheus import page
from controlplane.runtime.clock import SystemClock
from controlplane.runtime.https import HttpsServer
from controlplane.runtime.tasks import Supervisor
from controlplane.webhooks.admission import LIMITS
from controlplane.webhooks.injection.settings import InjectionSettings
from controlplane.webhooks.injection.webhook import InjectionWebhook
from controlplane.webhooks.metrics import injection_families
from tests.runtime.test_https import asked, generation
from tests.webhooks.patching import applied

PATH = "/inject/4f1c"
POD = {"metadata": {"generateName": "cart-"}, "spec": {"containers": [{"name": "cart", "image": "cart:1"}]}}


def review(pod: Any = POD, **more: Any) -> dict[str, Any]:
    request = {
        "uid": "705ab4f5", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE",
        "namespace": "shop", "object": pod, "oldObject": None, "dryRun": False,
        "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"}, **more,
    }  # fmt: skip
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


@asynccontextmanager
async def serving(webhook: InjectionWebhook) -> AsyncIterator[int]:
    server = HttpsServer(webhook.routes(), generation(), LIMITS)
    async with Supervisor(SystemClock()) as tasks:
        yield await server.listen(tasks, "127.0.0.1", 0)
        await server.stop(0.1)


async def answer(webhook: InjectionWebhook, body: Any, path: str = PATH) -> tuple[int, Any]:
    async with serving(webhook) as port:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await asked(port, f"POST {path} HTTP/1.1", raw)


@pytest.fixture
def webhook() -> InjectionWebhook:
    labels = {"shop": {"istio-injection": "enabled"}, "other": {}, "tagged": {"istio.io/rev": "stable"}}
    return InjectionWebhook(InjectionSettings, PATH, labels.get)


async def test_a_pod_gets_its_proxy(webhook):
    status, found = await answer(webhook, review())
    assert status == 200
    assert (found["apiVersion"], found["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    response = found["response"]
    assert response["uid"] == "705ab4f5"
    assert response["allowed"] is True
    assert response["patchType"] == "JSONPatch"
    patched = applied(POD, json.loads(base64.b64decode(response["patch"])))
    assert [one["name"] for one in patched["spec"]["initContainers"]] == ["istio-init", "istio-proxy"]
    assert webhook.counts == {("injected", ""): 1}


async def test_what_is_wrong_is_refused_with_every_reason(webhook):
    notes = {"sidecar.istio.io/proxyCPU": "much", "sidecar.istio.io/logLevel": "loud", "sidecar.istio.io/foo": "x"}
    _, found = await answer(webhook, review({**POD, "metadata": {"annotations": notes}}))
    response = found["response"]
    assert response["allowed"] is False
    assert "patch" not in response
    assert "proxyCPU 'much'" in response["status"]["message"]
    assert "logLevel 'loud'" in response["status"]["message"]
    assert response["warnings"] == ["sidecar.istio.io/foo is not known"]
    assert webhook.counts == {("refused", ""): 1}


async def test_a_tag_is_no_reason_to_let_pass_what_is_wrong(webhook):
    pod = {**POD, "metadata": {"annotations": {"sidecar.istio.io/proxyCPU": "much"}}}
    _, found = await answer(webhook, review(pod, namespace="tagged"))
    assert found["response"]["allowed"] is False


async def test_who_did_not_ask_for_the_mesh_is_not_refused_whatever_is_wrong(webhook):
    notes = {"sidecar.istio.io/proxyCPU": "much"}
    _, found = await answer(webhook, review({**POD, "metadata": {"annotations": notes}}, namespace="other"))
    assert found["response"] == {"uid": "705ab4f5", "allowed": True}
    assert webhook.counts == {("left", "namespace-not-labelled"): 1}


async def test_scrapers_are_told_in_istios_words(webhook):
    bad = {**POD, "metadata": {"annotations": {"sidecar.istio.io/proxyCPU": "much"}}}
    for question in (review(), review(), review(bad), review(bad, namespace="other")):
        await answer(webhook, question)
    text = page(injection_families(webhook)).decode()
    found = {line for line in text.splitlines() if not line.startswith("#")}
    assert found == {
        "sidecar_injection_requests_total 4",
        "sidecar_injection_success_total 2",
        "sidecar_injection_failure_total 1",
        'sidecar_injection_skip_total{reason="namespace-not-labelled"} 1',
    }


@pytest.mark.parametrize(
    "more",
    [
        {"kind": {"group": "", "version": "v1", "kind": "Service"}},
        {"operation": "UPDATE"},
        {"operation": "DELETE", "object": None},
        {"subResource": "ephemeralcontainers"},
    ],
    ids=str,
)
async def test_what_is_not_a_new_pod_is_none_of_its_business(webhook, more):
    _, found = await answer(webhook, review(**more))
    assert found["response"] == {"uid": "705ab4f5", "allowed": True}
    assert webhook.counts == {}


@pytest.mark.parametrize("namespace", ["new", "other", "tagged"])
async def test_the_api_server_knows_better(webhook, namespace):
    """A label that was put on a moment ago, a tag that only the webhook's selectors know."""
    _, found = await answer(webhook, review(namespace=namespace))
    assert "patch" in found["response"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/inject", review(), 404),
        ("/inject/4f1d", review(), 404),
        (PATH, b"{", 400),
        (PATH, b"[" * 100_000, 400),
        (PATH, {"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "request": review()["request"]}, 400),
        (PATH, {**review(), "request": {"uid": "a"}}, 400),
        (PATH, review({"metadata": {"a": json.loads("[" * 70 + "]" * 70)}}), 400),
    ],
    ids=["another path", "a wrong secret", "no JSON", "deep", "another version", "no kind", "a deep Pod"],
)  # fmt: skip
async def test_what_is_no_question_of_an_api_server(webhook, path, body, status):
    code, found = await answer(webhook, body, path)
    assert code == status
    assert "response" not in found
    assert webhook.counts == {}


async def test_a_pod_that_is_none_is_refused_and_not_a_bug(webhook):
    wrong: list[Any] = [None, [], {"spec": 1}, {"spec": {"containers": [{"name": 1}]}}]
    for pod in wrong:
        _, found = await answer(webhook, review(pod))
        assert found["response"]["allowed"] is False
        assert "this is no Pod" in found["response"]["status"]["message"]


async def test_six_mebibytes_are_taken_and_no_more(webhook):
    big = {**POD, "metadata": {"annotations": {"note": "x" * (6 * 1024 * 1024 - 2000)}}}
    code, found = await answer(webhook, review(big))
    assert code == 200
    assert "patch" in found["response"]
    bigger = {**POD, "metadata": {"annotations": {"note": "x" * (6 * 1024 * 1024)}}}
    code, _ = await answer(webhook, review(bigger))
    assert code == 413


async def test_warnings_are_as_many_and_as_long_as_an_api_server_takes(webhook):
    notes = {f"sidecar.istio.io/{'long' * 40}{number}": "x" for number in range(50)}
    _, found = await answer(webhook, review({**POD, "metadata": {"annotations": notes}}))
    warnings = found["response"]["warnings"]
    assert len(warnings) == 20
    assert max(map(len, warnings)) <= 250
