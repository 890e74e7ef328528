"""Whether a caller is the proxy it says it is.

A node message is a claim. Namespace and service account come from the certificate, `spiffe://<trust domain>/ns/<ns>/sa/
<account>`; a node that claims others, anywhere it says them, is refused. Whether the Pod it claims to stand beside is
of that account, and a gateway's, is for whoever knows the Pods (`mesh.vouching`).
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from controlplane.base.identity import Identity, parse_identity
from controlplane.model.proxy import BadNodeError, Locality, Proxy, parse_node
from controlplane.model.text import printable
from controlplane.xds.caller import Caller
from controlplane.xds.protocol.commands import Reason
from controlplane.xds.protocol.wire import Peer
from controlplane.xds.proxies import Admission, Denied


def claimed(peer: Peer) -> Proxy | Denied:
    """The proxy as it describes itself."""
    try:
        proxy = parse_node(peer.id, peer.metadata, Locality(*peer.locality))
    except BadNodeError as error:
        return Denied(Reason.INVALID_ARGUMENT, str(error))
    return msgspec.structs.replace(proxy, envoy_version=peer.envoy_version)


class _LocalAdmission:
    """On the Unix socket, whoever may open it is believed."""

    def knows(self, caller: Caller) -> Denied | None:
        """See `Admission`."""
        del caller
        return None

    def __call__(self, caller: Caller, peer: Peer) -> Proxy | Denied:
        """See `Admission`."""
        del caller
        return claimed(peer)


class MeshAdmission:
    """Over TCP: the certificate says who it is."""

    def __init__(self, trust_domains: frozenset[str]) -> None:
        self._trust_domains = trust_domains

    def knows(self, caller: Caller) -> Denied | None:
        """See `Admission`."""
        if self._identity(caller) is not None:
            return None
        return _nobody(caller)

    def __call__(self, caller: Caller, peer: Peer) -> Proxy | Denied:
        """See `Admission`."""
        identity = self._identity(caller)
        if identity is None:
            return _nobody(caller)
        proxy = claimed(peer)
        if isinstance(proxy, Denied):
            return proxy
        for what, says, proven in _claims(proxy, identity):
            if says != proven:
                text = f'{printable(peer.id)} claims {what} "{printable(says)}", its certificate says "{proven}"'
                return Denied(Reason.PERMISSION_DENIED, text)
        return msgspec.structs.replace(proxy, service_account=identity.account, identity=identity.uri)

    def _identity(self, caller: Caller) -> Identity | None:
        identity = parse_identity(caller.identity)
        return identity if identity is not None and identity.trust_domain in self._trust_domains else None


admit_local: Final[Admission] = _LocalAdmission()


def _nobody(caller: Caller) -> Denied:
    text = f'"{printable(caller.identity)}" is no workload identity of this mesh'
    return Denied(Reason.PERMISSION_DENIED, text)


def _claims(proxy: Proxy, identity: Identity) -> Iterator[tuple[str, str, str]]:
    """(what, what the node says, what is proven) of all it says about who it is."""
    yield "namespace", proxy.namespace, identity.namespace
    yield "namespace", proxy.id.split("~")[2].rpartition(".")[2], identity.namespace
    if proxy.service_account:
        yield "service account", proxy.service_account, identity.account
