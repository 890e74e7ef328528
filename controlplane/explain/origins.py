"""Origins that travel inside Envoy messages, for callers who have nothing but the configuration."""

from typing import Any, Final

from controlplane.model.problem import ObjectRef, Origin

_ACRONYMS: Final = frozenset({"http", "grpc", "tcp", "tls", "udp"})


def in_metadata(message: Any) -> tuple[Origin, ...]:
    """Istio writes the path of the owning object into `filter_metadata.istio.config`; so do we."""
    metadata = message.metadata.filter_metadata
    if "istio" not in metadata or "config" not in metadata["istio"].fields:
        return ()
    found = _of_path(metadata["istio"].fields["config"].string_value)
    return (found,) if found else ()


def _of_path(path: str) -> Origin | None:
    """`/apis/networking.istio.io/v1/namespaces/shop/virtual-service/web`."""
    parts = path.split("/")
    if len(parts) != 8 or parts[1] != "apis" or parts[4] != "namespaces":
        return None
    return Origin(ObjectRef(parts[2], _kind(parts[6]), parts[5], parts[7]))


def _kind(kebab: str) -> str:
    """`virtual-service` -> `VirtualService`, `http-route` -> `HTTPRoute`."""
    return "".join(word.upper() if word in _ACRONYMS else word.capitalize() for word in kebab.split("-"))
