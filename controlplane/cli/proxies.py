"""`lateen proxy-status`, `lateen proxy-config`, `lateen problems`: looking into a running mesh."""

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from controlplane.cli.asking import Proxy, Whom, ask, ask_about, find_proxy
from controlplane.cli.envoys import completed, held_by
from controlplane.cli.output import Format, print_document, print_table
from controlplane.cli.refusal import Refused
from controlplane.cli.secrets import print_secrets
from controlplane.runtime.clock import SystemClock

_TYPES = ("CDS", "LDS", "EDS", "RDS", "VHDS", "SDS")
Rows = Sequence[Sequence[Any]]


def status(whom: Whom, proxy: str | None, output: Format) -> None:
    """Print who is connected."""
    connected = ask(whom, "/proxies")
    found = [one for one in connected if proxy is None or one["name"].startswith(proxy)]
    if proxy is not None and not found:
        names = ", ".join(one["name"] for one in connected) or "none is connected"
        raise Refused(f"no proxy is called {proxy!r}; there are: {names}", code=1)
    if output is not Format.TABLE:
        print_document(found, output)
        return
    if not found:
        typer.echo("no proxy is connected", err=True)
        return
    told = [(*_status_row(one), *([one["replica"]] if "replica" in one else [])) for one in found]
    replica = ["control plane"] if "replica" in found[0] else []
    print_table(("name", "type", *_TYPES, "since", "envoy", *replica), told)
    for one in found:
        for kind, state in one["types"].items():
            if state.get("message"):
                print_table((f"{one['name']} refused {kind}",), [(state["message"],)])


def config(whom: Whom, proxy: str, section: str, output: Format) -> None:
    """Print what a proxy is sent."""
    meant = find_proxy(whom, proxy)
    found: dict[str, Any] = {} if section == "secrets" else ask_about(whom, meant, "/config")
    if section in ("secrets", "all"):
        found["secrets"] = _secrets(whom, meant)
    sections = list(found) if section == "all" else [section]
    if output is not Format.TABLE:
        print_document(found if section == "all" else found[section], output)
        return
    for index, name in enumerate(sections):
        if index:
            print_table(("",), [])
        if name == "secrets":
            print_secrets(found[name], SystemClock().now())
            continue
        columns, row = _TABLES[name]
        print_table(columns, [line for resource in found[name] for line in row(resource)])


def _secrets(whom: Whom, proxy: Proxy) -> Sequence[Mapping[str, Any]]:
    """In a cluster its Envoy is asked from here: the control plane cannot."""
    found: Sequence[Mapping[str, Any]] = ask_about(whom, proxy, "/secrets")
    if whom.directory is not None:
        return found
    try:
        return completed(found, held_by(whom.cluster, proxy.name), SystemClock().now())
    except Refused as error:
        typer.echo(f"lateen: the Envoy of {proxy.name} cannot be asked: {error}", err=True)
        return found


def problems(whom: Whom, output: Format) -> None:
    """Print what is wrong."""
    print_problems(ask(whom, "/problems"), output)


def print_problems(found: Sequence[Mapping[str, Any]], output: Format) -> None:
    """Rows as the debug socket tells them."""
    if output is not Format.TABLE:
        print_document(found, output)
        return
    if not found:
        typer.echo("no problems", err=True)
        return
    print_table(
        ("level", "code", "where", "object", "path", "message"),  # the longest last: nothing is pushed aside by it
        [[problem[key] for key in ("level", "code", "place", "object", "path", "message")] for problem in found],
    )


def _status_row(proxy: Mapping[str, Any]) -> Sequence[Any]:
    states = [proxy["types"].get(kind, {}).get("state", "-") for kind in _TYPES]
    return (proxy["name"], proxy["type"], *states, _age(proxy["connected_seconds"]), proxy["envoy_version"])


def _age(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f}s"
    return f"{seconds / 60:.0f}m" if seconds < 7200 else f"{seconds / 3600:.0f}h"


def _listener_rows(listener: Mapping[str, Any]) -> Rows:
    address = _address(listener.get("address", {}))
    chains = listener.get("filterChains", []) + (
        [listener["defaultFilterChain"]] if "defaultFilterChain" in listener else []
    )
    return [(listener.get("name", ""), address, _match(chain), _leads_to(chain)) for chain in chains] or [
        (listener.get("name", ""), address, "", "")
    ]


def _match(chain: Mapping[str, Any]) -> str:
    match = chain.get("filterChainMatch", {})
    parts = [
        f"{key}: {','.join(map(str, value)) if isinstance(value, list) else value}" for key, value in match.items()
    ]
    return "; ".join(part for part in parts if "{" not in part) or "all"


def _leads_to(chain: Mapping[str, Any]) -> str:
    """Where a filter chain's last filter sends things."""
    for network_filter in reversed(chain.get("filters", [])):
        settings = network_filter.get("typedConfig", {})
        if "rds" in settings:
            return f"route {settings['rds'].get('routeConfigName', '')}"
        if "routeConfig" in settings:
            return "inline route"
        if "cluster" in settings:
            return f"cluster {settings['cluster']}"
        if "weightedClusters" in settings:
            return "clusters " + ", ".join(
                f"{one['name']} ({one.get('weight', 0)})" for one in settings["weightedClusters"].get("clusters", [])
            )
    return ""


def _route_rows(route: Mapping[str, Any]) -> Rows:
    return [
        (
            route.get("name", ""),
            host.get("name", ""),
            _first(host.get("domains", [])),
            _path(rule.get("match", {})),
            _action(rule),
        )
        for host in route.get("virtualHosts", [])
        for rule in host.get("routes", [{}])
    ]


def _path(match: Mapping[str, Any]) -> str:
    for key, sign in (("prefix", "*"), ("path", ""), ("pathSeparatedPrefix", "/*")):
        if key in match:
            return f"{match[key]}{sign}" + (" (and more)" if len(match) > 1 else "")
    return f"regex {match['safeRegex'].get('regex', '')}" if "safeRegex" in match else ""


def _action(rule: Mapping[str, Any]) -> str:
    if "redirect" in rule:
        return "redirect"
    if "directResponse" in rule:
        return f"answers {rule['directResponse'].get('status', 200)}"
    action = rule.get("route", {})
    if "weightedClusters" in action:
        return ", ".join(
            f"{one['name']} ({one.get('weight', 0)})" for one in action["weightedClusters"].get("clusters", [])
        )
    return str(action.get("cluster", action.get("clusterHeader", "")))


def _cluster_rows(cluster: Mapping[str, Any]) -> Rows:
    parts = cluster.get("name", "").split("|")
    direction, port, subset, host = parts if len(parts) == 4 else ("-", "-", "-", cluster.get("name", ""))
    kind = cluster.get("type") or cluster.get("clusterType", {}).get("name", "STATIC")
    return [
        (
            host or cluster.get("name", ""),
            port or "-",
            subset or "-",
            direction,
            kind,
            cluster.get("lbPolicy", "ROUND_ROBIN"),
        )
    ]


def _endpoint_rows(assignment: Mapping[str, Any]) -> Rows:
    return [
        (
            _address(endpoint.get("endpoint", {}).get("address", {})),
            endpoint.get("healthStatus", "HEALTHY"),
            endpoint.get("loadBalancingWeight", 1),
            group.get("priority", 0),
            assignment.get("clusterName", ""),
        )
        for group in assignment.get("endpoints", [])
        for endpoint in group.get("lbEndpoints", [])
    ]


def _address(address: Mapping[str, Any]) -> str:
    socket = address.get("socketAddress", {})
    return (
        f"{socket.get('address')}:{socket.get('portValue', 0)}"
        if socket
        else str(address.get("pipe", {}).get("path", ""))
    )


def _first(domains: Sequence[str]) -> str:
    return f"{domains[0]} +{len(domains) - 1}" if len(domains) > 1 else "".join(domains)


_TABLES: Mapping[str, tuple[Sequence[str], Any]] = {
    "listeners": (("name", "address", "match", "leads to"), _listener_rows),
    "routes": (("name", "virtual host", "domains", "path", "leads to"), _route_rows),
    "clusters": (("service", "port", "subset", "direction", "type", "balancer"), _cluster_rows),
    "endpoints": (("endpoint", "health", "weight", "priority", "cluster"), _endpoint_rows),
}
