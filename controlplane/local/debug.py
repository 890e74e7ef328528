"""What a running mesh answers on its debug socket: the questions `lateen proxy-status` and its like ask."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import msgspec

from controlplane.local.ports import ControlPlane
from controlplane.local.show import Shown, one_line
from controlplane.model.problem import Problem
from controlplane.runtime.unixhttp import Handler, NotFound


def routes(control: ControlPlane, shown: Callable[[], Shown] | None = None) -> Mapping[str, Handler]:
    """`shown`: a laptop mesh beside the control plane, if there is one."""

    async def proxies(_query: Mapping[str, str]) -> Any:
        return msgspec.to_builtins(control.proxies())

    async def config(query: Mapping[str, str]) -> Any:
        return proxy_config(control, query.get("proxy", ""))

    async def problems(_query: Mapping[str, str]) -> Any:
        found = shown().problems if shown else control.problems()
        return [problem_row(problem) for problem in found]

    async def about(_query: Mapping[str, str]) -> Any:
        return {"lateen": version("lateen")}

    async def mesh(_query: Mapping[str, str]) -> Any:
        return msgspec.to_builtins(shown()) if shown else None

    offered: dict[str, Handler] = {
        "/proxies": proxies,
        "/config": config,
        "/problems": problems,
        "/version": about,
    }
    return offered | ({"/mesh": mesh} if shown else {})


def proxy_config(control: ControlPlane, name: str) -> Any:
    """The configuration of a proxy by its name, by its node id, or by any beginning that only one proxy has."""
    names = [status.name for status in control.proxies()]
    if name not in names:
        meant = [each for each in names if each.startswith(name)] if name else []
        if len(meant) > 1:
            raise NotFound(f"{name!r} may be any of {', '.join(sorted(meant))}")
        name = meant[0] if meant else name
    found = control.config(name)
    if found is None:
        connected = ", ".join(sorted(names)) or "none is connected"
        raise NotFound(f"no proxy is called {name!r}; there are: {connected}")
    return found


def problem_row(problem: Problem) -> Mapping[str, str]:
    """A problem, flat."""
    return {
        "level": str(problem.level),
        "code": problem.code,
        "object": str(problem.origin.ref),
        "path": problem.origin.path,
        "message": problem.message,
        "line": one_line(problem),
    }
