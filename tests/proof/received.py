"""What an Envoy holds, in the words of `lateen compile`.

Envoy's admin tells everything it was sent, but not as it was sent: virtual hosts that came one by one are inside their
route configuration under their long names, assignments are told from the state of its hosts, private keys are hidden.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import health_check_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from google.protobuf import json_format

from controlplane.envoy.render import redact, register_types
from controlplane.ir.names import ROOT_SECRET, WORKLOAD_SECRET

Section = dict[str, Any]  # resource name -> something comparable
_HEALTHY = (health_check_pb2.UNKNOWN, health_check_pb2.HEALTHY)


def held(dump: str) -> dict[str, Section]:
    """From the admin's `/config_dump?include_eds`. What came with the bootstrap, or from the agent, is left out."""
    found: dict[str, list[Any]] = {section: [] for section in _COMPARED}
    for part in json.loads(dump)["configs"]:
        for section, of_section in _DYNAMIC.items():
            found[section] += of_section(part)
    # The admin calls the endpoints of static clusters dynamic, too, when these clusters came over xDS.
    by_eds = {each["name"] for each in found["clusters"] if each.get("type") == "EDS"}
    found["endpoints"] = [each for each in found["endpoints"] if each["cluster_name"] in by_eds]
    found["secrets"] = [each for each in found["secrets"] if each["name"] not in (WORKLOAD_SECRET, ROOT_SECRET)]
    return {section: _compared(section, resources) for section, resources in found.items()}


def compiled(document: Mapping[str, Iterable[Any]]) -> dict[str, Section]:
    """From what `lateen compile` printed."""
    return {section: _compared(section, document[section]) for section in _COMPARED}


def differences(held_: Mapping[str, Section], compiled_: Mapping[str, Section]) -> list[str]:
    """Resources that are not equal, by section and name."""
    return [
        f"{section} {name}: "
        + ("not held" if name not in held_[section] else "not compiled" if name not in compiled_[section] else "other")
        for section in _COMPARED
        for name in sorted(held_[section].keys() | compiled_[section].keys())
        if held_[section].get(name) != compiled_[section].get(name)
    ]


def _compared(section: str, resources: Iterable[Any]) -> Section:
    register_types()
    new, compared = _COMPARED[section]
    plain = [{key: value for key, value in each.items() if key != "@type"} for each in resources]
    messages = [json_format.ParseDict(each, new()) for each in plain]
    return {message.cluster_name if section == "endpoints" else message.name: compared(message) for message in messages}


def _plain(message: Any) -> Any:
    return json_format.MessageToDict(message)


def _table(route: Any) -> Any:
    """Virtual hosts in order of name, under the names they have inside a route configuration."""
    route.ClearField("vhds")
    for host in route.virtual_hosts:
        host.name = host.name.removeprefix(f"{route.name}/")
    hosts = sorted(map(_plain, route.virtual_hosts), key=lambda host: str(host["name"]))
    route.ClearField("virtual_hosts")
    return _plain(route), hosts


def _hosts(assignment: Any) -> Any:
    """Every endpoint with all that balancing looks at."""
    return sorted(
        (
            group.priority,
            str(group.locality),
            str(host.endpoint.address),
            "healthy" if host.health_status in _HEALTHY else health_check_pb2.HealthStatus.Name(host.health_status),
            host.load_balancing_weight.value or 1,
        )
        for group in assignment.endpoints
        for host in group.lb_endpoints
    )


def _secret(secret: Any) -> Any:
    redact(secret)
    return _plain(secret)


_COMPARED: Mapping[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "listeners": (listener_pb2.Listener, _plain),
    "clusters": (cluster_pb2.Cluster, _plain),
    "routes": (route_pb2.RouteConfiguration, _table),
    "endpoints": (endpoint_pb2.ClusterLoadAssignment, _hosts),
    "secrets": (secret_pb2.Secret, _secret),
}
_DYNAMIC: Mapping[str, Callable[[Mapping[str, Any]], list[Any]]] = {
    "listeners": lambda part: [each["active_state"]["listener"] for each in part.get("dynamic_listeners", ())],
    "clusters": lambda part: [each["cluster"] for each in part.get("dynamic_active_clusters", ())],
    "routes": lambda part: [each["route_config"] for each in part.get("dynamic_route_configs", ())],
    "endpoints": lambda part: [each["endpoint_config"] for each in part.get("dynamic_endpoint_configs", ())],
    "secrets": lambda part: [each["secret"] for each in part.get("dynamic_active_secrets", ())],
}
