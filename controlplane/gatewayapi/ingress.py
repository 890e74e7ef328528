"""Ingress: HTTP from outside to Services, as Kubernetes itself describes it.

An Ingress has no proxy of its own. Those of our classes (`ingresses/classes.py`) are for the ingress gateways, which
open port 80 for all of them together and port 443 for those with certificates (`servers.py`). Three things happen:

- One Ingress is *read* by itself: what it says of each host, and the servers its `tls` asks for. (`reading.py`)
- Hosts *meet* servers: port 80 has every host, a server for TLS those of its namespace that its hosts cover.
  (`hosts.py`)
- All Ingresses for one host of one route table make one list of routes. Its order is the specification's and does not
  depend on who wrote what: exact paths, then prefixes, the longest first, then default backends. Where two say the
  same, the older has it and both are told. (`routes.py`)

A wildcard stands for one label here, and for any number in Envoy's tables. So what a wildcard host serves asks for one
label itself, and requests with more fall to what the next wider host answers.
"""

from controlplane.gatewayapi.ingresses.addresses import GatewayAddress, addresses, gateway_service
from controlplane.gatewayapi.ingresses.classes import Controller, controller, gateway_labels, ineffective_parameters
from controlplane.gatewayapi.ingresses.hosts import of_namespace_first, places, serving, unplaced
from controlplane.gatewayapi.ingresses.reading import IngressRules, read
from controlplane.gatewayapi.ingresses.routes import Backends, beyond_one_label, routes
from controlplane.gatewayapi.ingresses.rules import HostRules, order
from controlplane.gatewayapi.ingresses.servers import HTTP_PORT, HTTPS_PORT, plain_server, secrets_asked

__all__ = [
    "HTTPS_PORT",
    "HTTP_PORT",
    "Backends",
    "Controller",
    "GatewayAddress",
    "HostRules",
    "IngressRules",
    "addresses",
    "beyond_one_label",
    "controller",
    "gateway_labels",
    "gateway_service",
    "ineffective_parameters",
    "of_namespace_first",
    "order",
    "places",
    "plain_server",
    "read",
    "routes",
    "secrets_asked",
    "serving",
    "unplaced",
]
