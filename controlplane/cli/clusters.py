"""Commands that speak to an API server: how it is found, and what is said when it cannot be asked."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from controlplane.cli.refusal import Refused
from controlplane.install.api import Api, KubernetesApi, RefusedError, UnreachableError
from controlplane.install.podexec import PodExec
from controlplane.sources.kubernetes.access import Pod, Unreachable, client_of, credentials

_Result = TypeVar("_Result")


class Target(msgspec.Struct, frozen=True):
    """Which cluster. As kubectl has it, where nothing is said."""

    kubeconfig: Path | None = None
    context: str | None = None


def ask(target: Target, work: Callable[[Api], Awaitable[_Result]]) -> _Result:
    """What `work` finds out about a cluster. Refuses with one line."""
    return asyncio.run(_asked(target, lambda client: work(Api(KubernetesApi(client)))))


def look_in(target: Target, work: Callable[[Api, PodExec], Awaitable[_Result]]) -> _Result:
    """`ask`, with commands in Pods."""
    return asyncio.run(_asked(target, lambda client: work(Api(KubernetesApi(client)), PodExec(client))))


def is_there() -> bool:
    """Whether there is a cluster to ask where none is named, as far as files say."""
    if isinstance(credentials(None, None), Pod):
        return True
    places = os.environ.get("KUBECONFIG", "") or "~/.kube/config"  # as kubectl looks
    return any(Path(one).expanduser().is_file() for one in places.split(os.pathsep) if one)


async def _asked(target: Target, work: Callable[[Any], Awaitable[_Result]]) -> _Result:
    who = credentials(str(target.kubeconfig) if target.kubeconfig is not None else None, target.context)
    try:
        async with await client_of(who) as client:
            return await work(client)
    except Unreachable as error:
        raise Refused(f"{error} (--kubeconfig, --context)") from error
    except UnreachableError as error:
        raise Refused(str(error)) from error
    except RefusedError as error:
        raise Refused(_no(error), code=1) from error


def _no(error: RefusedError) -> str:
    if error.status == 401:
        return "the API server does not know you: credentials are wrong, or have ended"
    return f"the API server refuses: {error}"
