"""Commands that speak to an API server: how it is found, and what is said when it cannot be asked."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from controlplane.cli.refusal import Refused
from controlplane.install.api import Api, KubernetesApi, RefusedError, UnreachableError
from controlplane.sources.kubernetes.access import Unreachable, credentials

_Result = TypeVar("_Result")


class Target(msgspec.Struct, frozen=True):
    """Which cluster. As kubectl has it, where nothing is said."""

    kubeconfig: Path | None = None
    context: str | None = None


def ask(target: Target, work: Callable[[Api], Awaitable[_Result]]) -> _Result:
    """What `work` finds out about a cluster. Refuses with one line."""
    return asyncio.run(_asked(target, work))


async def _asked(target: Target, work: Callable[[Api], Awaitable[_Result]]) -> _Result:
    from kubernetes.aio.client import ApiClient, Configuration  # noqa: PLC0415  half a second

    configuration = Configuration()
    await _load(target, configuration)
    try:
        async with ApiClient(configuration) as client:
            client.user_agent = "lateen"
            return await work(Api(KubernetesApi(client)))
    except UnreachableError as error:
        raise Refused(str(error)) from error
    except RefusedError as error:
        raise Refused(f"the API server refuses: {error}", code=1) from error


async def _load(target: Target, configuration: Any) -> None:
    who = credentials(str(target.kubeconfig) if target.kubeconfig is not None else None, target.context)
    try:
        await who.load(configuration)
    except Unreachable as error:
        raise Refused(f"{error} (--kubeconfig, --context)") from error
    except Exception as error:  # the package raises what it likes for a file it does not understand
        raise Refused(f"{who}: {error or type(error).__name__}") from error
