"""Gateway: what a gateway proxy listens on, and the virtual hosts its VirtualServices make there.

Two halves that change for different reasons:

- The *plan* follows from the Gateways bound to a proxy alone: which listeners there are, which servers share them,
  which route tables they read and which hosts each server admits. (`gateways/plan.py`)
- *Attachment* joins one VirtualService with a plan: each of its hosts that a server admits becomes a domain of that
  server's route table. One virtual host is made from the VirtualServices attached to one domain of one table, so a
  change of one VirtualService makes its own virtual hosts anew and nothing else. (`gateways/attach.py`, `hosts.py`)

Besides the attached domains a table has some of its own: hosts of servers that redirect to HTTPS; and `*`, which
answers 404. On a port with several servers for TLS, a request may come over a connection that was opened for another
server's host, because browsers reuse HTTP/2 connections where certificates overlap. Such a request gets 421, and the
browser opens a connection of its own (RFC 9110, 15.5.20; without this it is the endless 404 of istio/istio#13589).
So there `*` answers 421, and so does every host of another server that a wildcard of this one covers.
"""

from controlplane.mesh.gateways.attach import (
    attachments,
    is_exported,
    l4_attachments,
    missing_gateways,
    not_exported,
    unattached,
)
from controlplane.mesh.gateways.chains import listener, server_chains, unopened
from controlplane.mesh.gateways.hosts import (
    Attached,
    Contributed,
    route_table,
    table_domains,
    unjudged_claims,
    virtual_host,
)
from controlplane.mesh.gateways.plan import GatewayPlan, ListenerPlan, TablePlan, plan
from controlplane.mesh.gateways.server import Server

__all__ = [
    "Attached",
    "Contributed",
    "GatewayPlan",
    "ListenerPlan",
    "Server",
    "TablePlan",
    "attachments",
    "is_exported",
    "l4_attachments",
    "listener",
    "missing_gateways",
    "not_exported",
    "plan",
    "route_table",
    "server_chains",
    "table_domains",
    "unattached",
    "unjudged_claims",
    "unopened",
    "virtual_host",
]
