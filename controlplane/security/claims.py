"""What a proxy says of itself, held against who it is.

A node's id and metadata are written by whoever starts the proxy. They decide much of what it gets, so that one that
names another namespace or account than its certificate or token is refused, wherever it says so.
"""

from collections.abc import Mapping
from typing import Any

from controlplane.base.identity import Identity
from controlplane.model.proxy import BadNodeError, parse_node
from controlplane.security.refusal import Refusal, Why


def refused_claim(caller: Identity, node_id: str, metadata: Mapping[str, Any]) -> Refusal | None:
    """Why this is no node of the caller's; None if it is one."""
    try:
        parse_node(node_id, metadata)
    except BadNodeError as error:
        return Refusal(Why.MALFORMED, repr(str(error)))
    _, _, name, domain = node_id.split("~")
    namespaces = (name.rpartition(".")[2], domain.partition(".")[0], metadata.get("NAMESPACE", caller.namespace))
    for claimed in namespaces:
        if claimed != caller.namespace:
            return _refused(caller, node_id, f"namespace {claimed!r}")
    account = metadata.get("SERVICE_ACCOUNT", caller.account)
    return _refused(caller, node_id, f"service account {account!r}") if account != caller.account else None


def _refused(caller: Identity, node_id: str, claim: str) -> Refusal:
    return Refusal(Why.FORBIDDEN, f"the node {node_id!r} claims {claim}, and its proof says {caller.uri}")
