"""Commands that speak to an API server: how it is found, and what is said when it cannot be asked."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from controlplane.cli.refusal import Refused
from controlplane.install.api import Api, KubernetesApi, RefusedError, UnreachableError

_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
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
    from kubernetes.aio import config  # noqa: PLC0415  as above

    if target == Target() and _TOKEN.is_file():
        config.load_incluster_config(configuration)
        return
    path = str(target.kubeconfig or config.KUBE_CONFIG_DEFAULT_LOCATION)
    if not any(Path(one).expanduser().is_file() for one in path.split(os.pathsep)):  # noqa: ASYNC240  a moment
        raise Refused(f"there is no kubeconfig {path} (--kubeconfig, or $KUBECONFIG)")
    try:
        await config.load_kube_config(path, target.context, configuration, persist_config=False)
    except Exception as error:  # the package raises what it likes for a file it does not understand
        raise Refused(f"{path}: {error or type(error).__name__}") from error
