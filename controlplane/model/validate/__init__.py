"""What each kind may say, beyond the types of its fields: what istiod would refuse, and what Envoy would.

Only the object itself is looked at. Whether the hosts, subsets and secrets it names exist is found out where it is
compiled, since that changes without the object.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from controlplane.model.authorizationpolicy import AuthorizationPolicy
from controlplane.model.destinationrule import DestinationRule
from controlplane.model.gateway import Gateway
from controlplane.model.peerauthentication import PeerAuthentication
from controlplane.model.problem import Problem
from controlplane.model.requestauthentication import RequestAuthentication
from controlplane.model.serviceentry import ServiceEntry, WorkloadEntry
from controlplane.model.sidecar import Sidecar
from controlplane.model.validate.authorizationpolicy import validate_authorization_policy
from controlplane.model.validate.destinationrule import validate_destination_rule
from controlplane.model.validate.gateway import validate_gateway
from controlplane.model.validate.peerauthentication import validate_peer_authentication
from controlplane.model.validate.requestauthentication import validate_request_authentication
from controlplane.model.validate.serviceentry import validate_service_entry, validate_workload_entry
from controlplane.model.validate.sidecar import validate_sidecar
from controlplane.model.validate.virtualservice import validate_virtual_service
from controlplane.model.virtualservice import VirtualService

_VALIDATORS: Final[Mapping[type, Callable[[Any], tuple[Problem, ...]]]] = {
    VirtualService: validate_virtual_service,
    DestinationRule: validate_destination_rule,
    Gateway: validate_gateway,
    ServiceEntry: validate_service_entry,
    WorkloadEntry: validate_workload_entry,
    Sidecar: validate_sidecar,
    PeerAuthentication: validate_peer_authentication,
    AuthorizationPolicy: validate_authorization_policy,
    RequestAuthentication: validate_request_authentication,
}


def validate(obj: object) -> tuple[Problem, ...]:
    """All that is wrong with an object by itself; kinds without rules have nothing wrong."""
    validator = _VALIDATORS.get(type(obj))
    return validator(obj) if validator else ()
