"""Clusters of hosts that nobody declared, and that are asked for nothing but the keys of token issuers."""

from typing import Final

from controlplane.ir import names
from controlplane.ir.cluster import Cluster, Direction, Upstream
from controlplane.ir.policy import LoadBalancer, TlsMode, TrafficPolicy, UpstreamTls
from controlplane.ir.service import Endpoint, Resolution
from controlplane.mesh.connections import SYSTEM_CERTIFICATES
from controlplane.mesh.destinationrule import base_connection_pool
from controlplane.model.jwksuri import is_literal
from controlplane.model.problem import Origin
from controlplane.model.settings import Settings

_ORIGINATES: Final = frozenset({TlsMode.SIMPLE, TlsMode.MUTUAL, TlsMode.MESH})


def originates_tls(traffic: TrafficPolicy) -> bool:
    """Whether calls under this policy are encrypted without the caller's doing."""
    return traffic.tls is not None and traffic.tls.mode in _ORIGINATES


def cluster(name: str, origins: tuple[Origin, ...], settings: Settings) -> Cluster:
    """The cluster that `names.key_server_cluster` named.

    Its server must show a certificate for its own name that the machine's authorities have signed, whatever the mesh
    says of other calls: who stands in for it would decide whose tokens are valid.
    """
    port, scheme, host = name.removeprefix(names.KEY_SERVER).split("|", 2)
    literal = is_literal(host)
    tls = UpstreamTls(
        TlsMode.SIMPLE,
        ca_certificates=SYSTEM_CERTIFICATES,
        subject_alt_names=(host,),
        sni="" if literal else host,
    )
    return Cluster(
        name=name,
        direction=Direction.OUTBOUND,
        resolution=Resolution.STATIC if literal else Resolution.DNS_ROUND_ROBIN,
        upstream=Upstream.HTTP1,
        policy=TrafficPolicy(LoadBalancer(), base_connection_pool(settings), tls=tls if scheme == "https" else None),
        origins=origins,
        endpoints=(Endpoint(host, int(port), {}),),
        external=True,
    )
