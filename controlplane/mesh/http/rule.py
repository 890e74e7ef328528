"""The rules of a VirtualService once delegation is carried out.

A root VirtualService can leave the routes under some match to another one, one level deep. The rules that come out
keep who wrote them: origins point at the delegate's own fields, and short names are completed with the delegate's
namespace.

A delegate that does not exist, or is not exported to the root's namespace, leaves a good match without an action: that
match answers 500, and the root is told. Merging follows Istio: the delegate's match must lie within the root's (a
delegate's rule outside of it is dropped and reported), and what the delegate does not say comes from the root.
"""

from collections.abc import Callable, Iterator

import msgspec

from controlplane.mesh.destinations import missing
from controlplane.mesh.http.merge import merged_matches, merged_rule
from controlplane.mesh.tenancy import exported
from controlplane.model.meta import origin_of
from controlplane.model.problem import Level, Origin, Problem
from controlplane.model.virtualservice import Delegate, HTTPRoute, VirtualService

DelegateLookup = Callable[[str, str], VirtualService | None]  # (namespace, name)


class Rule(msgspec.Struct, frozen=True):
    """One rule, who wrote it, and in which namespace its short names are read."""

    http: HTTPRoute
    origin: Origin
    namespace: str
    broken: bool = False  # good match, no usable action: answers 500


def rules_of(
    vs: VirtualService, delegate: DelegateLookup, *, export_to: tuple[str, ...] = ()
) -> tuple[tuple[Rule, ...], tuple[Problem, ...]]:
    """All rules in order. `export_to`: whom VirtualServices are exported to that do not say it."""
    spec = origin_of(vs, "spec")
    rules: list[Rule] = []
    problems: list[Problem] = []
    for index, http in enumerate(vs.spec.http):
        origin = spec.at(f"http[{index}]")
        if not (delegates(http) and http.delegate):
            rules.append(Rule(http, origin, vs.meta.namespace))
            continue
        found = _delegate_of(vs, http.delegate, origin.at("delegate"), delegate, export_to)
        if isinstance(found, Problem):
            problems.append(found)
            rules.append(Rule(http, origin, vs.meta.namespace, broken=True))
        else:
            rules += _delegated(http, found, origin, problems)
    return tuple(rules), tuple(problems)


def delegates(http: HTTPRoute) -> bool:
    """A rule delegates only if it has no routes of its own."""
    return http.delegate is not None and not http.route and http.redirect is None and http.direct_response is None


def delegate_key(delegate: Delegate, namespace: str) -> tuple[str, str]:
    """(namespace, name) of the VirtualService a rule of `namespace` delegates to."""
    return delegate.namespace or namespace, delegate.name


def _delegate_of(
    root: VirtualService, named: Delegate, origin: Origin, lookup: DelegateLookup, export_to: tuple[str, ...]
) -> VirtualService | Problem:
    """The VirtualService that has the routes, or why there is none."""
    namespace, name = delegate_key(named, root.meta.namespace)
    vs = lookup(namespace, name)
    if vs is None:
        return missing(origin, f"there is no VirtualService {namespace}/{name}; requests for it get 500")
    if vs.spec.hosts:
        text = f"VirtualService {namespace}/{name} has hosts, so it cannot be a delegate; requests for it get 500"
        return Problem("InvalidDelegate", Level.ERROR, origin, text)
    if not exported(namespace, vs.spec.export_to or export_to).covers(root.meta.namespace):
        text = f"VirtualService {namespace}/{name} is not exported to namespace {root.meta.namespace}"
        return missing(origin, f"{text}; requests for it get 500")
    return vs


def _delegated(root: HTTPRoute, vs: VirtualService, origin: Origin, problems: list[Problem]) -> Iterator[Rule]:
    spec = origin_of(vs, "spec")
    for index, leaf in enumerate(vs.spec.http):
        yield from _leaf(root, leaf, spec.at(f"http[{index}]"), vs.meta.namespace, origin, problems)


def _leaf(  # noqa: PLR0913, PLR0917  both rules, and where each stands
    root: HTTPRoute, leaf: HTTPRoute, origin: Origin, namespace: str, root_origin: Origin, problems: list[Problem]
) -> Iterator[Rule]:
    matches = merged_matches(root.match, leaf.match)
    if matches is None:
        text = f"this rule matches nothing within what {root_origin} delegates, so it is left out"
        problems.append(Problem("DelegateConflict", Level.ERROR, origin.at("match"), text))
        return
    if delegates(leaf):
        text = "a delegate cannot delegate again; requests for this rule get 500"
        problems.append(Problem("InvalidDelegate", Level.ERROR, origin.at("delegate"), text))
    yield Rule(merged_rule(root, leaf, matches), origin, namespace, broken=delegates(leaf))
