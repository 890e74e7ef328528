"""What would Envoy do with this call? Answered from one proxy's compiled resources, without an Envoy."""

from controlplane.explain.call import Address, Call, ProxyHeader, Speaks, Tls, http
from controlplane.explain.hop import next_hop
from controlplane.explain.outcome import Destination, Endpoint, Failure, Outcome, Secured, Stage, Step, Verdict
from controlplane.explain.resources import Origins, Resources, decode
from controlplane.explain.simulate import simulate

__all__ = [
    "Address",
    "Call",
    "Destination",
    "Endpoint",
    "Failure",
    "Origins",
    "Outcome",
    "ProxyHeader",
    "Resources",
    "Secured",
    "Speaks",
    "Stage",
    "Step",
    "Tls",
    "Verdict",
    "decode",
    "http",
    "next_hop",
    "simulate",
]
