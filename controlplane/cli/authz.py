"""`lateen authz check`: whether a call is allowed, by which rule, and what came closest to making it otherwise."""

import json
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Final, NamedTuple

import typer

from controlplane.cli.objects import Mesh, Place, read_mesh
from controlplane.cli.output import Format, print_document, print_table
from controlplane.cli.refusal import Refused
from controlplane.explain.authorization import Asked, Decision, Message, RuleName, decide, selecting
from controlplane.explain.authorization.workloads import Workload, find
from controlplane.explain.call import Address
from controlplane.model.authorizationpolicy import AuthorizationPolicy
from controlplane.model.kinds import Object
from controlplane.model.meta import ref_of
from controlplane.model.problem import Level, ObjectRef, Problem

NOBODY: Final = "-"
_IDENTITY_PARTS: Final = 5
_SPIFFE: Final = "spiffe://"


class Call(NamedTuple):
    """The options that describe a call."""

    caller: str
    workload: str
    labels: str
    method: str
    path: str
    host: str
    headers: Sequence[str]
    claims: Sequence[str]
    port: int | None
    source: str
    remote: str
    server_name: str
    tcp: bool


def check(call: Call, place: Place, output: Format) -> None:
    """Print the answer; 1 is the code of a call that is denied."""
    mesh = read_mesh(place)
    workload = _workload(mesh.objects, call.workload, call.labels)
    asked = _asked(call, workload, mesh)
    policies = [one for one in mesh.objects.values() if isinstance(one, AuthorizationPolicy)]
    selected = selecting(policies, workload.namespace, workload.labels, mesh.settings)
    decision = decide(selected, asked, mesh.settings)
    if output is Format.TABLE:
        _print(asked, decision)
        _warn(mesh.problems, selected)
    else:
        print_document(_document(asked, workload, decision), output)
    raise typer.Exit(0 if decision.allowed else 1)


def _warn(problems: Iterable[Problem], selected: Iterable[AuthorizationPolicy]) -> None:
    """What is wrong with the policies that decide: they fail closed, and the answer may surprise."""
    concerned = {ref_of(one) for one in selected}
    for problem in dict.fromkeys(problems):
        if problem.origin.ref in concerned and problem.level is not Level.INFO:
            typer.echo(f"lateen: {problem.level}: {problem.origin}: {problem.message}", err=True)


# The call.


def _asked(call: Call, workload: Workload, mesh: Mesh) -> Asked:
    name = _identity(call.caller, mesh)
    message = Message(
        method=call.method,
        host=call.host or call.workload.partition("/")[2],
        path=call.path,
        headers=tuple(_pairs(call.headers)),
    )
    port = workload.usual_port if call.port is None else workload.port(call.port)
    return Asked(
        names=(f"{_SPIFFE}{name}",) if name else (),
        source=_address("--source-ip", call.source),
        remote=_address("--remote-ip", call.remote) if call.remote else "",
        destination=Address("127.0.0.1", port),
        server_name=call.server_name,
        message=None if call.tcp else message,
        claims=_claims(call.claims) if call.claims else None,
    )


def _identity(caller: str, mesh: Mesh) -> str:
    """Without "spiffe://"; "" for nobody."""
    if caller == NOBODY:
        return ""
    plain = caller.removeprefix(_SPIFFE)
    if plain.count("/") == _IDENTITY_PARTS - 1:
        return plain
    namespace, account = _named("--from", caller)
    found = find(mesh.objects, namespace, account)
    return f"{mesh.settings.trust_domain}/ns/{namespace}/sa/{found.account if found is not None else account}"


def _workload(objects: Mapping[ObjectRef, Object], name: str, labels: str) -> Workload:
    namespace, workload = _named("--to", name)
    found = find(objects, namespace, workload)
    if labels:
        pairs = dict(_pairs(labels.split(",")))
        return Workload(namespace, pairs) if found is None else Workload(namespace, pairs, behind=found.behind)
    if found is None:
        raise Refused(
            f"--to {name}: there is no such Deployment, Pod or Service; --labels says what would be there", code=2
        )
    return found


def _named(option: str, text: str) -> tuple[str, str]:
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise Refused(f"{option} {text!r}: NAMESPACE/NAME was expected")
    return namespace, name


def _pairs(texts: Iterable[str]) -> Iterable[tuple[str, str]]:
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise Refused(f"{text!r} is not NAME=VALUE")
        yield name, value


def _claims(texts: Sequence[str]) -> dict[str, Any]:
    """A value that begins as JSON does is JSON."""
    found: dict[str, Any] = {}
    for name, value in _pairs(texts):
        try:
            found[name] = json.loads(value) if value.startswith(("[", "{", '"')) else value
        except (ValueError, RecursionError) as error:
            raise Refused(f"--claim {name}: {error}") from error
    return found


def _address(option: str, text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise Refused(f"{option}: {error}") from error


# The answer.


def _print(asked: Asked, decision: Decision) -> None:
    verdict, caller = _verdict(decision), ", ".join(asked.principals) or "nobody"
    print_table(("answer", "caller", "port", "why"), [(verdict, caller, asked.destination.port, decision.why)])
    if decision.nearest is not None:
        typer.echo()
        rows = [(decision.nearest.rule, one.where, one.wanted, one.found) for one in decision.nearest.failed]
        print_table(("nearest", "field", "wanted", "found"), rows)
    if decision.dry_runs:
        typer.echo()
        tried = [(one.action, "allow" if one.allowed else "deny", one.by or "-") for one in decision.dry_runs]
        print_table(("dry run", "would", "by"), tried)


def _verdict(decision: Decision) -> str:
    """Who else has to agree is part of the answer."""
    asks = f" if {' and '.join(decision.asks)} agrees" if decision.asks and decision.allowed else ""
    return f"{'allowed' if decision.allowed else 'denied'}{asks}"


def _document(asked: Asked, workload: Workload, decision: Decision) -> dict[str, Any]:
    nearest = decision.nearest
    return {
        "allowed": decision.allowed,
        "by": _rule(decision.by),
        "why": decision.why,
        "asks": list(decision.asks),
        "audited": [_rule(one) for one in decision.audited],
        "dryRuns": [
            {"action": str(one.action), "allowed": one.allowed, "by": _rule(one.by)} for one in decision.dry_runs
        ],
        "nearest": None
        if nearest is None
        else {
            **(_rule(nearest.rule) or {}),
            "action": str(nearest.action),
            "failed": [{"field": one.where, "wanted": one.wanted, "found": one.found} for one in nearest.failed],
        },
        "caller": list(asked.names),
        "workload": {"namespace": workload.namespace, "labels": dict(workload.labels), "port": asked.destination.port},
    }


def _rule(rule: RuleName | None) -> dict[str, Any] | None:
    if rule is None:
        return None
    return {"namespace": rule.policy.namespace, "name": rule.policy.name, "rule": rule.number}
