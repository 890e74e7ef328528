"""One Ingress, read by itself.

The smallest bad part is taken out, and its author is told: a bad path never matches, a bad backend answers 500, a rule
whose host is no host is not there, a certificate that is not named opens nothing.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from controlplane.gatewayapi.ingresses import names, paths
from controlplane.gatewayapi.ingresses.classes import Controller
from controlplane.gatewayapi.ingresses.rules import Backend, HostRules, PathRule, order
from controlplane.gatewayapi.ingresses.servers import tls_servers
from controlplane.mesh.gateways.server import Server
from controlplane.mesh.problems import ineffective, invalid, not_supported
from controlplane.model.ingress import HTTPIngressPath, Ingress, IngressBackend, IngressRule
from controlplane.model.meta import origin_of, ref_of
from controlplane.model.problem import Level, Origin, Problem
from controlplane.model.validate.common import is_dns_label

_ENDING: Final = ".ingress.kubernetes.io"  # of the annotations by which other controllers are told more
_LAST_PORT: Final = 65_535


class IngressRules(msgspec.Struct, frozen=True):
    """What one Ingress asks for: hosts, each once, and servers for TLS."""

    hosts: tuple[HostRules, ...] = ()
    servers: tuple[Server, ...] = ()


def read(ingress: Ingress, whose: Controller) -> tuple[IngressRules, tuple[Problem, ...]]:
    """What an Ingress of ours says, and what is wrong with it."""
    if ingress.spec.invalid:
        return IngressRules(), ()
    problems = [*_foreign_annotations(ingress)]
    hosts = tuple(_hosts(ingress, whose, problems))
    servers, found = tls_servers(ingress, tuple(one.host for one in hosts))
    problems += found
    if not hosts:
        problems.append(ineffective(origin_of(ingress, "spec"), "no rule and no defaultBackend of it can be used"))
    return IngressRules(hosts, servers), tuple(problems)


def _hosts(ingress: Ingress, whose: Controller, problems: list[Problem]) -> Iterator[HostRules]:
    """Rules for the same host are one. A default backend has what is left of each host, and all other hosts."""
    spec, age, ref = origin_of(ingress, "spec"), order(ingress), ref_of(ingress)
    default = ingress.spec.default_backend
    rest = None if default is None else _backend(default, spec.at("defaultBackend"), problems)
    by_host: dict[str, list[PathRule]] = {}
    for index, rule in enumerate(ingress.spec.rules):
        origin = spec.at(f"rules[{index}]")
        host = _host(rule, origin, problems)
        if host is not None:
            by_host.setdefault(host, []).extend(_paths(rule, origin, whose, problems, is_backed=rest is not None))
    if rest is not None:
        by_host.setdefault(names.EVERY_HOST, [])
    for host in sorted(by_host):
        yield HostRules(host, age, ref, tuple(by_host[host]), rest)


def _host(rule: IngressRule, origin: Origin, problems: list[Problem]) -> str | None:
    """None: no host at all, and then the rule must not be for all of them."""
    if rule.invalid:
        return None
    host = rule.host.lower()
    if host and (why := names.fault(host)):
        problems.append(Problem("InvalidHost", Level.ERROR, origin.at("host"), f"{why}; the rule has no effect"))
        return None
    return host or names.EVERY_HOST


def _paths(
    rule: IngressRule, origin: Origin, whose: Controller, problems: list[Problem], *, is_backed: bool
) -> Iterator[PathRule]:
    if rule.http is None or not (rule.http.paths or rule.http.invalid):
        if not is_backed:
            problems.append(ineffective(origin, "it has no paths, and there is no defaultBackend for this host"))
        return
    for index, written in enumerate(rule.http.paths):
        found = _path(written, origin.at(f"http.paths[{index}]"), whose, problems)
        if found is not None:
            yield found


def _path(written: HTTPIngressPath, origin: Origin, whose: Controller, problems: list[Problem]) -> PathRule | None:
    if written.invalid:
        return None
    if why := paths.fault(written.path, written.path_type):
        field = "path" if written.path_type in paths.PATH_TYPES else "pathType"
        problems.append(Problem("InvalidMatch", Level.ERROR, origin.at(field), f"{why}: it never matches"))
        return None
    if paths.looks_like_regex(written.path, written.path_type):
        text = "regular expressions are not read in paths: each character stands for itself"
        problems.append(Problem("NoEffect", Level.WARNING, origin.at("path"), text))
    match = paths.match(written.path, written.path_type, whose)
    return PathRule(match, _backend(written.backend, origin.at("backend"), problems), origin)


def _backend(written: IngressBackend, origin: Origin, problems: list[Problem]) -> Backend:
    broken = Backend(origin)
    service = written.service
    if written.invalid or (service is not None and (service.invalid or service.port.invalid)):
        return broken  # decoding has said so
    if (fault := _kind_fault(written, origin)) is not None:
        problems.append(fault)
    if service is None or fault is not None:
        return broken
    if not is_dns_label(service.name):
        text = f'"{service.name}" is no name of a Service; requests get 500'
        problems.append(invalid(origin.at("service.name"), text))
        return broken
    port = service.port
    if bool(port.name) == bool(port.number) or not 0 <= port.number <= _LAST_PORT:
        text = "a port has a number of 1 to 65535 or a name, and just one of these; requests get 500"
        problems.append(invalid(origin.at("service.port"), text))
        return broken
    return Backend(origin, service.name, port.number, port.name)


def _kind_fault(written: IngressBackend, origin: Origin) -> Problem | None:
    if written.resource is None:
        return None if written.service is not None else invalid(origin, "a backend needs a service; requests get 500")
    at = origin.at("resource")
    if written.service is not None:
        return Problem("ConflictingFields", Level.ERROR, at, "a backend is a service or a resource; requests get 500")
    return not_supported(at, f"{written.resource.kind or 'an object'} as a backend", "requests get 500")


def _foreign_annotations(ingress: Ingress) -> Iterator[Problem]:
    for key in sorted(ingress.meta.annotations):
        if key.partition("/")[0].endswith(_ENDING):
            text = f"{key} is another controller's annotation"
            yield ineffective(origin_of(ingress, f"metadata.annotations[{key}]"), text)
