"""What is wrong with a Pod, in words, from wherever a cluster keeps it."""

from typing import Any

import pytest

from controlplane.install.health import LAST_LINES, last_lines, missing, troubles, unsigned


def deployment(wanted: int = 2, generation: int = 3, **status: Any) -> dict[str, Any]:
    return {
        "kind": "Deployment",
        "metadata": {"name": "lateend", "namespace": "ns", "generation": generation},
        "spec": {"replicas": wanted},
        "status": {"observedGeneration": 3, **status},
    }


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (deployment(generation=4), "not looked at yet"),
        ({**deployment(), "status": None}, "not looked at yet"),
        (deployment(updatedReplicas=1, replicas=2, availableReplicas=2), "1 of 2 Pods made"),
        (deployment(updatedReplicas=2, replicas=3, availableReplicas=3), "1 old Pods end"),
        (deployment(updatedReplicas=2, replicas=2, availableReplicas=1), "1 of 2 Pods ready"),
        (deployment(updatedReplicas=2, replicas=2, availableReplicas=2), ""),
    ],
)
def test_a_deployment_is_up_when_all_of_it_is_new_and_available(found: dict[str, Any], words: str) -> None:
    assert missing(found) == words


def pod(*containers: dict[str, Any], conditions: Any = (), **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", **more}, "status": {"containerStatuses": containers, "conditions": conditions}}


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    return {"name": "c", "image": "x/y:1", "state": {"waiting": {"reason": reason, "message": message}}, **more}


def event(reason: str, message: str, when: str = "2026-01-01T00:00:00Z", **more: Any) -> dict[str, Any]:
    about = {"kind": "Pod", "name": "p"}
    return {
        "type": "Warning",
        "reason": reason,
        "message": message,
        "lastTimestamp": when,
        "involvedObject": about,
        **more,
    }


def lines(*pods: dict[str, Any], events: Any = (), of: dict[str, Any] | None = None) -> list[str]:
    return [str(trouble) for trouble in troubles(of or deployment(), pods, list(events))]


OOM: dict[str, Any] = {"lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}


@pytest.mark.parametrize(
    ("found", "words", "advice"),
    [
        (pod(waiting("ErrImagePull", "no such host")), "ErrImagePull: no such host", "--set image="),
        (pod(waiting("ErrImageNeverPull", image="localhost/lateen:1")), "ErrImageNeverPull", "make image"),
        (pod(waiting("InvalidImageName")), "InvalidImageName: x/y:1", ""),
        (pod(waiting("CreateContainerConfigError", 'secret "s" not found')), 'secret "s" not found', ""),
        (pod(waiting("CrashLoopBackOff", **OOM)), "OOMKilled, exit code 137", "resources.limits.memory"),
    ],
)
def test_what_a_container_lacks(found: dict[str, Any], words: str, advice: str) -> None:
    (line,) = lines(found)
    assert words in line
    assert advice in line
    assert troubles(deployment(), [found], [])[0].stuck


def test_what_the_scheduler_says() -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "1 node(s) had untolerated taint",
    }
    (line,) = lines(pod(conditions=[condition]), events=[event("FailedScheduling", "the same")])
    assert line == (
        "Pod p: Pending: 1 node(s) had untolerated taint "
        "(--set 'controlPlane.tolerations=[{operator: Exists}]' tolerates every taint)"
    )


def test_the_newest_warning_about_it_and_nothing_about_others() -> None:
    mount = event("FailedMount", "configmap not found", "2026-01-01T00:00:02Z")
    other = event("FailedMount", "of another", "2026-01-01T00:00:09Z") | {"involvedObject": {"name": "q"}}
    (trouble,) = troubles(deployment(), [pod()], [event("FailedMount", "older"), mount, other])
    assert trouble.words == "FailedMount: configmap not found"
    assert not trouble.stuck


def test_probes_fail_while_something_starts() -> None:
    assert lines(pod(), events=[event("Unhealthy", "Startup probe failed")]) == []
    assert lines(pod(), events=[event("Unhealthy", "Startup probe failed", count=30)]) == [
        "Pod p: Unhealthy: Startup probe failed"
    ]


def test_what_ends_and_what_is_ready_has_no_trouble() -> None:
    assert lines(pod(waiting("CrashLoopBackOff", **OOM), deletionTimestamp="now")) == []
    ready = [{"type": "Ready", "status": "True"}]
    assert lines(pod(conditions=ready), events=[event("FailedMount", "before")]) == []


def test_no_pod_at_all_is_the_deployments_trouble() -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    (line,) = lines(of=deployment(conditions=[condition]))
    assert "exceeded quota" in line
    assert "quota or an admission webhook" in line


def test_the_worst_comes_first_and_nothing_breaks_a_terminal() -> None:
    found = troubles(deployment(), [pod(waiting("CrashLoopBackOff", **OOM)), pod()], [event("X", "\x1b[31mred\n" * 99)])
    assert [trouble.stuck for trouble in found] == sorted((trouble.stuck for trouble in found), reverse=True)
    assert all(str(trouble).isprintable() and len(str(trouble)) < 600 for trouble in found)
    assert last_lines("a\n" * 9 + "\x1b]0;title\x07b\n")[-1].isprintable()
    assert len(last_lines("a\n" * 9)) == LAST_LINES
    assert last_lines("") == []


def test_a_webhook_that_nobody_took_up() -> None:
    assert unsigned(
        {"webhooks": [{"name": "a", "clientConfig": {"caBundle": "x"}}, {"name": "b", "clientConfig": {}}]}
    ) == ["b"]
