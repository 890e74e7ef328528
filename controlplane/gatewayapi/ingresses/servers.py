"""The servers of gateways that Ingresses ask for.

Port 80 is one server for all Ingresses: who has which host there is decided host by host. On port 443 each entry of
`tls` is a server, told from others by the name a client asks for. Its Secret is read in the gateway's own namespace,
as with Gateways and as in Istio: the control plane has no right to read the Secrets of whoever writes an Ingress.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from controlplane.gatewayapi.ingresses import names
from controlplane.gatewayapi.ingresses.rules import order
from controlplane.ir.names import credential_secret
from controlplane.mesh.gateways.server import Admission, Kind, Server
from controlplane.mesh.problems import ineffective, invalid
from controlplane.mesh.servertls import server_tls
from controlplane.model.gateway import ServerTLSMode, ServerTLSSettings
from controlplane.model.ingress import Ingress, IngressTLS
from controlplane.model.meshconfig import REF
from controlplane.model.meta import origin_of
from controlplane.model.problem import Level, Origin, Problem

HTTP_PORT: Final = 80
HTTPS_PORT: Final = 443
_LAST: Final = (datetime.max.replace(tzinfo=UTC), chr(0x10FFFF), "")
_PREFIX: Final = "Ingress."  # no Gateway's name begins so: names are lower case


def plain_server() -> Server:
    """Port 80. It claims nobody's hosts, is opened when there is any Ingress, and gives way to any Gateway."""
    return Server(
        key=("", _PREFIX, 0),
        kind=Kind.HTTP,
        port=HTTP_PORT,
        bind="",
        admits=(),
        origin=Origin(REF, "ingressControllerMode"),
        age=_LAST,
        attachable=False,
    )


def tls_servers(ingress: Ingress, served: Iterable[str]) -> tuple[tuple[Server, ...], tuple[Problem, ...]]:
    """One for each entry of `tls`. `served`: the hosts of the rules."""
    problems: list[Problem] = []
    found: list[Server] = []
    for index, written in enumerate(ingress.spec.tls):
        if not written.invalid:
            origin = origin_of(ingress, f"spec.tls[{index}]")
            found += _server(ingress, index, written, tuple(served), origin, problems)
    return tuple(found), tuple(problems)


def secrets_asked(ingress: Ingress) -> Mapping[str, tuple[Origin, ...]]:
    """SDS name -> the fields that name the Secret behind it."""
    found: dict[str, tuple[Origin, ...]] = {}
    for index, written in enumerate(ingress.spec.tls):
        if written.secret_name:
            name, origin = credential_secret(written.secret_name), origin_of(ingress, f"spec.tls[{index}].secretName")
            found[name] = (*found.get(name, ()), origin)
    return found


def _server(  # noqa: PLR0913, PLR0917  an entry, where it stands, and what is around it
    ingress: Ingress, index: int, written: IngressTLS, served: tuple[str, ...], origin: Origin, problems: list[Problem]
) -> Iterator[Server]:
    if not written.secret_name:
        text = "without secretName there is no certificate: port 443 is not opened for these hosts"
        problems.append(invalid(origin.at("secretName"), text))
        return
    settings = ServerTLSSettings(mode=ServerTLSMode.SIMPLE, credential_name=written.secret_name)
    tls = server_tls(settings, origin)
    assert not isinstance(tls, Problem)
    hosts = tuple(_hosts(written, served, origin, problems))
    if hosts:
        yield Server(
            key=(ingress.meta.namespace, f"{_PREFIX}{ingress.meta.name}", index),
            kind=Kind.HTTPS,
            port=HTTPS_PORT,
            bind="",
            admits=tuple(Admission(host, ingress.meta.namespace) for host in sorted(set(hosts))),
            origin=origin,
            port_name=f"https-{index}",
            tls=tls,
            age=order(ingress),
            attachable=False,
        )


def _hosts(written: IngressTLS, served: tuple[str, ...], origin: Origin, problems: list[Problem]) -> Iterator[str]:
    """Those of the entry; an entry without hosts has those of the rules."""
    if not written.hosts:
        yield from served
    for index, name in enumerate(written.hosts):
        host = name.lower()
        at = origin.at(f"hosts[{index}]")
        if why := names.fault(host):
            problems.append(Problem("InvalidHost", Level.ERROR, at, f"{why}; it is not opened"))
            continue
        if not any(names.narrower(host, one) for one in served):
            problems.append(ineffective(at, f"no rule is for {host}: requests for it get 404"))
        yield host
