"""Ingress and IngressClass (`networking.k8s.io/v1`), as far as they are read.

A rule, a path or a whole spec in which a field cannot be read is `invalid` and has no effect: without its host a rule
would be for every host.
"""

from typing import ClassVar

import msgspec

from controlplane.model.meta import Meta
from controlplane.model.value import Mark, Read

DEFAULT_CLASS_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"
CLASS_ANNOTATION = "kubernetes.io/ingress.class"  # from before ingressClassName, and still much used


class ServiceBackendPort(Read):
    """A port of the Service: by number or by name, not both."""

    number: int = 0
    name: str = ""
    invalid: Mark = False


class IngressServiceBackend(Read):
    """A Service beside the Ingress."""

    name: str = ""
    port: ServiceBackendPort = ServiceBackendPort()
    invalid: Mark = False


class TypedLocalObjectReference(Read):
    """An object beside the Ingress that is no Service."""

    kind: str = ""
    name: str = ""
    api_group: str | None = None


class IngressBackend(Read):
    """Where requests go."""

    service: IngressServiceBackend | None = None
    resource: TypedLocalObjectReference | None = None
    invalid: Mark = False


class HTTPIngressPath(Read):
    """A path and its backend."""

    path: str = ""
    path_type: str = ""  # Exact, Prefix, ImplementationSpecific
    backend: IngressBackend = IngressBackend()
    invalid: Mark = False


class HTTPIngressRuleValue(Read):
    """The paths of one host."""

    paths: tuple[HTTPIngressPath, ...] = ()
    invalid: Mark = False


class IngressRule(Read):
    """What one host serves; without a host every host."""

    host: str = ""
    http: HTTPIngressRuleValue | None = None
    invalid: Mark = False


class IngressTLS(Read):
    """A certificate, and the hosts it is for."""

    hosts: tuple[str, ...] = ()
    secret_name: str = ""
    invalid: Mark = False


class IngressSpec(Read):
    """Hosts, paths, certificates."""

    ingress_class_name: str | None = None
    default_backend: IngressBackend | None = None
    tls: tuple[IngressTLS, ...] = ()
    rules: tuple[IngressRule, ...] = ()
    invalid: Mark = False


class Ingress(Read):
    """HTTP from outside to Services beside it."""

    GROUP: ClassVar[str] = "networking.k8s.io"
    KIND: ClassVar[str] = "Ingress"

    meta: Meta = msgspec.field(name="metadata")
    spec: IngressSpec = msgspec.field(default_factory=IngressSpec)

    @property
    def class_annotation(self) -> str | None:
        return self.meta.annotations.get(CLASS_ANNOTATION)


class IngressClassParametersReference(Read):
    """An object with more settings, of which the controller alone knows what they mean."""

    kind: str = ""
    name: str = ""


class IngressClassSpec(Read):
    """Who looks after the Ingresses of a class."""

    controller: str = ""
    parameters: IngressClassParametersReference | None = None


class IngressClass(Read):
    """A class of Ingresses."""

    GROUP: ClassVar[str] = "networking.k8s.io"
    KIND: ClassVar[str] = "IngressClass"

    meta: Meta = msgspec.field(name="metadata")
    spec: IngressClassSpec = msgspec.field(default_factory=IngressClassSpec)

    @property
    def is_default(self) -> bool:
        return self.meta.annotations.get(DEFAULT_CLASS_ANNOTATION) == "true"
