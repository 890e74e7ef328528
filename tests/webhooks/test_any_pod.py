"""Whatever stands in a Pod, what comes back is an answer: never an error of ours, and never slow."""

import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.webhooks.admission import Asked, Kind
from controlplane.webhooks.injection.settings import InjectionSettings
from controlplane.webhooks.injection.webhook import InjectionWebhook
from tests.conftest import Proved, Size
from tests.webhooks.patching import applied
from tests.webhooks.pods import PODS
from tests.webhooks.test_annotations import SAMPLES

_ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20), st.sampled_from(["{{ .Values }}", "$(POD_NAME)", "a\nb: c", "\x00", "\u202e", "*" * 5000, "&a *a"]),
    st.just([]), st.just({}), st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=5), st.text(max_size=5)),
)  # fmt: skip
_PROXY = st.dictionaries(
    st.sampled_from(["env", "args", "image", "ports", "volumeMounts", "volumeDevices", "readinessProbe", "resources", "lifecycle"]),
    st.one_of(_ODD, st.lists(st.dictionaries(st.sampled_from(["name", "containerPort", "mountPath", "value"]), _ODD), max_size=2)),
)  # fmt: skip
_NOTES = st.dictionaries(
    st.sampled_from([*SAMPLES, "prometheus.io/port", "prometheus.io/path", "sidecar.istio.io/x"]), st.text()
)
SLOWEST = 0.25  # seconds that the loop may stand still


@st.composite
def broken(draw: st.DrawFn) -> Any:
    """A Pod in which some things are something else."""
    pod = json.loads(json.dumps(draw(PODS)))
    if draw(st.booleans()):
        pod["spec"]["containers"].append({"name": "istio-proxy", **draw(_PROXY)})
    if draw(st.booleans()):
        pod["metadata"]["annotations"] = {**(pod["metadata"].get("annotations") or {}), **draw(_NOTES)}
    for _ in range(draw(st.integers(0, 3))):
        owner = pod
        while True:
            keys = list(owner) if isinstance(owner, dict) else list(range(len(owner)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(owner[key], dict | list) and draw(st.booleans()):
                owner = owner[key]
                continue
            owner[key] = draw(_ODD)
            break
    return pod


@pytest.mark.point
def test_any_pod_gets_an_answer(size: Size, proved: Proved) -> None:
    webhook = InjectionWebhook(InjectionSettings, "/inject/x")
    wanted, count, slowest = size(400, 50_000), 0, 0.0

    @settings(max_examples=wanted)
    @given(broken())
    def holds(pod: Any) -> None:
        nonlocal count, slowest
        count += 1
        question = Asked(
            uid="1",
            kind=Kind("Pod"),
            operation="CREATE",
            namespace="shop",
            object=msgspec.Raw(json.dumps(pod).encode()),
        )
        began = time.process_time()
        verdict = webhook._verdict(question)
        slowest = max(slowest, time.process_time() - began)
        assert verdict.allowed or not verdict.patch
        if verdict.patch:
            applied(pod, json.loads(msgspec.json.encode(verdict.patch)))

    holds()
    assert {result for result, _ in webhook.counts} == {"injected", "refused"}
    proved(
        "kubernetes 5", "seconds in which the webhook answers about a Pod, whatever stands in it",
        bound=f"< {SLOWEST}", figure=f"{slowest:.3f}", holds=slowest < SLOWEST, cases=count, asked=wanted,
    )  # fmt: skip
