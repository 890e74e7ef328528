"""What a PeerAuthentication may say."""

from controlplane.model.meta import ref_of
from controlplane.model.peerauthentication import PeerAuthentication, PeerAuthenticationSpec
from controlplane.model.problem import Problem
from controlplane.model.validate.common import check_labels, check_object_name
from controlplane.model.validate.findings import Findings

_MAX_PORT = 65535


def validate_peer_authentication(policy: PeerAuthentication) -> tuple[Problem, ...]:
    """All that is wrong with a PeerAuthentication by itself."""
    found = Findings(ref_of(policy))
    spec = policy.spec
    check_object_name(found, "metadata.name", policy.meta.name)
    if spec.selector is not None:
        check_labels(found, "spec.selector.matchLabels", spec.selector.match_labels)
    for port in spec.port_level_mtls:
        if not is_port(port):
            text = f'"{port}" is no port of a workload; write its number, as the container has it'
            found.error("InvalidPort", f"spec.portLevelMtls[{port}]", text)
    if spec.port_level_mtls and not (spec.selector is not None and spec.selector.match_labels):
        text = "a port is one of certain workloads: say which with a selector"
        found.error("RequiredField", "spec.portLevelMtls", text)
    if spec == PeerAuthenticationSpec(selector=spec.selector):
        found.warn("NoEffect", "spec", "says nothing: what the namespace and the mesh say holds")
    return found.done()


def is_port(text: str) -> bool:
    """Whether a key of `portLevelMtls` is the number of a port."""
    return text.isascii() and text.isdecimal() and len(text) <= len(str(_MAX_PORT)) and 0 < int(text) <= _MAX_PORT
