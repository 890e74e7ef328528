"""An application is kept for a moment when its Pod is asked to end, unless somebody has thought of that."""

from typing import Any

import pytest

from controlplane.webhooks.injection.decision import Namespace
from controlplane.webhooks.injection.render import Injected, inject
from controlplane.webhooks.injection.settings import InjectionSettings, decode


def hooks(
    container: dict[str, Any] | None = None, notes: dict[str, str] | None = None, seconds: int = 3, **spec: Any
) -> Any:
    """`lifecycle` of the application as it comes out."""
    written = {"name": "cart", "image": "cart:1", **(container or {})}
    pod = {"metadata": {"name": "cart", "annotations": notes or {}}, "spec": {"containers": [written], **spec}}
    outcome = inject(InjectionSettings(linger_seconds=seconds), Namespace("shop"), pod, asked=True)
    assert isinstance(outcome, Injected)
    (found,) = (one for one in outcome.pod["spec"]["containers"] if one["name"] == "cart")
    return found.get("lifecycle")


def sleeps(seconds: int) -> dict[str, Any]:
    return {"preStop": {"sleep": {"seconds": seconds}}}


def test_it_sleeps_before_it_is_asked_to_end():
    assert hooks() == sleeps(3)
    assert hooks({"lifecycle": None}) == sleeps(3)
    assert hooks({"lifecycle": {"preStop": None}}) == sleeps(3)
    assert hooks(notes={"sidecar.istio.io/nativeSidecar": "false"}) == sleeps(3)


def test_what_its_author_wrote_stays():
    started = {"postStart": {"exec": {"command": ["true"]}}}
    assert hooks({"lifecycle": started}) == {**started, **sleeps(3)}
    ends = {"preStop": {"exec": {"command": ["sleep", "1"]}}}
    assert hooks({"lifecycle": ends}) == ends


@pytest.mark.parametrize(("grace", "found"), [(0, None), (1, None), (2, sleeps(1)), (5, sleeps(2)), (600, sleeps(3))])
def test_half_of_its_time_is_its_own(grace, found):
    assert hooks(terminationGracePeriodSeconds=grace) == found


def test_nobody_calls_it_or_it_is_to_end_by_itself():
    assert hooks(notes={"traffic.sidecar.istio.io/includeInboundPorts": ""}) is None
    assert hooks(notes={"sidecar.istio.io/interceptionMode": "NONE"}) is None
    assert hooks(restartPolicy="Never") is None
    assert hooks(restartPolicy="OnFailure") is None
    assert hooks(seconds=0) is None


@pytest.mark.parametrize("seconds", [-1, 3601])
def test_a_setting_that_cannot_be_meant_is_refused(seconds):
    with pytest.raises(ValueError, match="lingerSeconds"):
        decode({"lingerSeconds": seconds})
