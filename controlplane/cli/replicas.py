"""The replicas of a cluster's control plane: all of them are asked, for each proxy is connected to one.

Their debug API is on a Unix socket in their own Pods, and stays there: `lateen debug` is run beside it, by whoever may
run commands in those Pods.
"""

import asyncio
import json
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from controlplane.cli.clusters import Target, look_in
from controlplane.cli.refusal import Refused
from controlplane.install.api import Api, UnreachableError
from controlplane.install.lateend import APP
from controlplane.install.objects import Object
from controlplane.install.podexec import PodExec

_CONTAINER: Final = "lateend"


class Answer(NamedTuple):
    """Of one replica."""

    replica: str
    status: int  # as HTTP's
    body: Any


class Silent(NamedTuple):
    """A replica that does not answer, and why."""

    replica: str
    why: str
    counts: bool = True  # proxies may be connected to it


def ask_replicas(cluster: Target, namespace: str, target: str, only: str = "") -> tuple[list[Answer], list[Silent]]:
    """All at once, sorted by name; or `only` this one. Refuses with one line if none answers."""

    async def asked(api: Api, pods: PodExec) -> list[Answer | Silent]:
        if only:
            return [await _ask_running(pods, namespace, only, target)]
        found = await api.list(f"/api/v1/namespaces/{quote(namespace, safe='')}/pods", f"app={APP}")
        return await asyncio.gather(*(_ask(pods, namespace, pod, target) for pod in sorted(found, key=_name)))

    said = look_in(cluster, asked)
    answers = [one for one in said if isinstance(one, Answer)]
    silent = [one for one in said if isinstance(one, Silent)]
    if not said:
        raise Refused(f"no control plane runs in namespace {namespace} (--namespace says where): lateen install")
    if not answers:
        words = "; ".join(f"{one.replica}: {one.why}" for one in silent)
        raise Refused(f"no replica of the control plane answers: {words}")
    return answers, [one for one in silent if one.counts]


async def _ask(pods: PodExec, namespace: str, pod: Object, target: str) -> Answer | Silent:
    """Who has not started yet has no proxies, and who is about to end has none for long."""
    name, phase = _name(pod), (pod.get("status") or {}).get("phase")
    if phase != "Running":
        return Silent(name, f"its Pod is {phase or 'not scheduled'}", counts=False)
    said = await _ask_running(pods, namespace, name, target)
    return said._replace(counts=_may_have_proxies(pod)) if isinstance(said, Silent) else said


def _may_have_proxies(pod: Object) -> bool:
    """`started`: its startup probe has passed since the container began."""
    containers = (pod.get("status") or {}).get("containerStatuses") or []
    return "deletionTimestamp" not in pod["metadata"] and all(one.get("started") is not False for one in containers)


async def _ask_running(pods: PodExec, namespace: str, name: str, target: str) -> Answer | Silent:
    try:
        done = await pods.run(namespace, name, _CONTAINER, ("lateen", "debug", target))
        if done.code != 0:
            return Silent(name, done.errors.removeprefix("lateen: ") or f"exit code {done.code}")
        found = json.loads(done.out)
        return Answer(name, int(found["status"]), found["answer"])
    except UnreachableError as error:
        return Silent(name, str(error))
    except (ValueError, KeyError, TypeError):
        return Silent(name, "its answer is none of a control plane's")


def _name(pod: Object) -> str:
    return str(pod["metadata"]["name"])
