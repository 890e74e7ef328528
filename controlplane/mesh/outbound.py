"""What a sidecar listens on for calls that leave its workload, and which virtual hosts these calls find.

Captured calls arrive at `virtualOutbound`, which hands each to the listener of the address it was dialled for:

- HTTP ports share one listener a port, `0.0.0.0_<port>`, whose route table `<port>` tells services apart by host.
  Bytes that are no HTTP go where the outbound policy says.
- Every other port has a listener for each virtual address of its service, `<vip>_<port>`. A port whose protocol is
  not declared is sniffed there: HTTP goes to the table `<host>:<port>`, the rest is forwarded.
- A service without an address lives in `0.0.0.0_<port>` too. TLS is told apart by server name; address blocks (CIDR)
  and the endpoints of headless services by destination. Istio makes a listener for every endpoint of a headless
  service; here each endpoint is a filter chain, so that a Pod that comes or goes leaves other connections alone, and
  HTTP and headless TCP can share a port. Above `MAX_HEADLESS_CHAINS` endpoints, or with none known, such a service
  takes all connections of the port.

Start with `placement.py` (which of these a port is in), then `chains.py`, `listeners.py`, `virtualhosts.py`.
"""

from controlplane.mesh.chains import Member, service_chains
from controlplane.mesh.listeners import (
    http_proxy_listener,
    outbound_policy,
    vip_listener,
    virtual_outbound,
    wildcard_listener,
)
from controlplane.mesh.placement import Placement, is_sniffed, placement
from controlplane.mesh.policy import OutboundPolicy, catch_all, mesh_policy
from controlplane.mesh.virtualhosts import (
    alias_virtual_host,
    default_routes,
    literal_virtual_host,
    only_virtual_host,
    proxy_virtual_host,
    virtual_host,
    without_names,
)

__all__ = [
    "Member",
    "OutboundPolicy",
    "Placement",
    "alias_virtual_host",
    "catch_all",
    "default_routes",
    "http_proxy_listener",
    "is_sniffed",
    "literal_virtual_host",
    "mesh_policy",
    "only_virtual_host",
    "outbound_policy",
    "placement",
    "proxy_virtual_host",
    "service_chains",
    "vip_listener",
    "virtual_host",
    "virtual_outbound",
    "wildcard_listener",
    "without_names",
]
