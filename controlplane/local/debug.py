"""What a running mesh answers on its debug socket: the questions `lateen proxy-status` and its like ask."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Protocol, TypeVar

import msgspec

from controlplane.local.mesh import Mesh
from controlplane.local.ports import ControlPlane
from controlplane.local.show import one_line, shown
from controlplane.model.problem import ObjectRef, Problem
from controlplane.runtime.unixhttp import Handler, NotFound

IsCurrent = Callable[[ObjectRef | None, str], Awaitable[bool]]


class Findings(Protocol):
    """Who knows what is wrong, and where it stands."""

    def problems(self) -> tuple[Problem, ...]: ...

    def place_of(self, problem: Problem) -> str: ...

    @property
    def is_current(self) -> IsCurrent:
        """Asks whether what was written so far was read: this version of an object, or all there is."""
        ...


def routes(control: ControlPlane, findings: Findings, mesh: Mesh | None = None) -> Mapping[str, Handler]:
    """`mesh`: what runs on this machine beside the control plane, if anything does."""

    async def proxies(_query: Mapping[str, str]) -> Any:
        return msgspec.to_builtins(control.proxies())

    async def config(query: Mapping[str, str]) -> Any:
        return await proxy_config(control, query.get("proxy", ""))

    async def problems(_query: Mapping[str, str]) -> Any:
        return [problem_row(problem, findings.place_of(problem)) for problem in findings.problems()]

    async def settings(_query: Mapping[str, str]) -> Any:
        return control.settings()

    async def reached(query: Mapping[str, str]) -> Any:
        ref = _ref(query)
        current = await findings.is_current(ref, query.get("version", ""))  # first: what is in force is at least that
        return {"current": current, **msgspec.to_builtins(control.reached(ref))}

    async def about(_query: Mapping[str, str]) -> Any:
        return {"lateen": version("lateen")}

    offered: dict[str, Handler] = {
        "/proxies": proxies,
        "/config": config,
        "/problems": problems,
        "/settings": settings,
        "/reached": reached,
        "/version": about,
    }
    return offered | _mesh_routes(mesh) if mesh is not None else offered


def _ref(query: Mapping[str, str]) -> ObjectRef | None:
    if "kind" not in query:
        return None
    return ObjectRef(*(query.get(part, "") for part in ("group", "kind", "namespace", "name")))


def _mesh_routes(mesh: Mesh) -> dict[str, Handler]:
    async def what_runs(_query: Mapping[str, str]) -> Any:
        return msgspec.to_builtins(shown(mesh))

    async def objects(_query: Mapping[str, str]) -> Any:
        found = mesh.objects()
        return {"apiVersion": "v1", "kind": "List", "items": [found[ref] for ref in sorted(found)]}

    return {"/mesh": what_runs, "/objects": objects}


async def proxy_config(control: ControlPlane, name: str) -> Any:
    """The configuration of a connected proxy. Raises NotFound."""
    found = await control.dump(connected_proxy(control.proxies(), name).name)
    if found is None:
        raise NotFound(f"{name!r} has just left")
    return found


class Named(Protocol):
    """What a proxy is found by."""

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str: ...


_Named = TypeVar("_Named", bound=Named)


def connected_proxy(connected: Sequence[_Named], name: str) -> _Named:
    """A proxy by its name, by its node id, or by any beginning that only one proxy has. Raises NotFound."""
    for one in connected:
        if name in (one.name, one.id):
            return one
    meant = [one for one in connected if one.name.startswith(name)] if name else []
    if len(meant) > 1:
        raise NotFound(f"{name!r} may be any of {', '.join(sorted(one.name for one in meant))}")
    if not meant:
        names = ", ".join(sorted(one.name for one in connected)) or "none is connected"
        raise NotFound(f"no proxy is called {name!r}; there are: {names}")
    return meant[0]


def problem_row(problem: Problem, place: str = "") -> Mapping[str, str]:
    """A problem, flat. `place`: where its object stands, "dir/bill.yaml:14:1"."""
    return {
        "level": str(problem.level),
        "code": problem.code,
        "object": str(problem.origin.ref),
        "path": problem.origin.path,
        "message": problem.message,
        "place": place,
        "line": one_line(problem, place),
    }
