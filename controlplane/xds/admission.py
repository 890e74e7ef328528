"""Whether a caller is the proxy it says it is.

A node message is a claim. Namespace and service account come from the certificate, `spiffe://<trust domain>/ns/<ns>/sa/
<account>`; a node that claims another namespace is refused, because namespace decides what it gets.
"""

import msgspec

from controlplane.base.identity import parse_identity
from controlplane.model.proxy import BadNodeError, Locality, Proxy, parse_node
from controlplane.xds.protocol.commands import Reason
from controlplane.xds.protocol.wire import Peer
from controlplane.xds.proxies import Caller, Denied


def claimed(peer: Peer) -> Proxy | Denied:
    """The proxy as it describes itself."""
    try:
        proxy = parse_node(peer.id, peer.metadata, Locality(*peer.locality))
    except BadNodeError as error:
        return Denied(Reason.INVALID_ARGUMENT, str(error))
    return msgspec.structs.replace(proxy, envoy_version=peer.envoy_version)


def admit_local(caller: Caller, peer: Peer) -> Proxy | Denied:
    """On the Unix socket, whoever may open it is believed."""
    del caller
    return claimed(peer)


class MeshAdmission:
    """Over TCP: the certificate says who it is."""

    def __init__(self, trust_domains: frozenset[str]) -> None:
        self._trust_domains = trust_domains

    def __call__(self, caller: Caller, peer: Peer) -> Proxy | Denied:
        """See `Admission`."""
        identity = parse_identity(caller.identity)
        if identity is None or identity.trust_domain not in self._trust_domains:
            return Denied(Reason.PERMISSION_DENIED, f'"{caller.identity}" is no workload identity of this mesh')
        proxy = claimed(peer)
        if isinstance(proxy, Denied):
            return proxy
        if proxy.namespace != identity.namespace:
            claim = f'node "{peer.id}" claims namespace "{proxy.namespace}"'
            return Denied(Reason.PERMISSION_DENIED, f'{claim}, its certificate says "{identity.namespace}"')
        return msgspec.structs.replace(proxy, service_account=identity.account)
