"""Which Ingresses are ours.

An Ingress names an IngressClass, which names a controller. Ours is LATEEN; what is written for Istio's is taken too, as
MeshConfig says. The annotation from before there were classes counts first, as in Istio. On a laptop nobody writes
IngressClasses: a name of ours that no such object explains means what it says.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final

from controlplane.mesh.destinations import missing
from controlplane.mesh.problems import ignored, ineffective
from controlplane.model.ingress import CLASS_ANNOTATION, Ingress, IngressClass
from controlplane.model.meta import origin_of, ref_of
from controlplane.model.problem import Problem
from controlplane.model.settings import IngressControllerMode, Settings

CLASS: Final = "lateen"
_CLASS_FIELD: Final = "spec.ingressClassName"
ISTIO_LABEL: Final = "istio"
_DEFAULT_GATEWAY: Final = "ingressgateway"
_DEFAULT_SERVICE: Final = "istio-ingressgateway"


class Controller(Enum):
    """Who is asked to look after an Ingress. They differ in what ImplementationSpecific paths mean."""

    LATEEN = "lateen.dev/ingress-controller"
    ISTIO = "istio.io/ingress-controller"


_CONTROLLERS: Final = {one.value: one for one in Controller}


def controller(
    ingress: Ingress, named: IngressClass | None, defaults: Sequence[IngressClass], settings: Settings
) -> tuple[Controller | None, tuple[Problem, ...]]:
    """Whose it is; None: not ours, and why.

    `named` is the IngressClass of the name it gives, if there is one; `defaults` those marked to be the default.
    """
    if settings.ingress_controller_mode is IngressControllerMode.OFF:
        return None, (ineffective(origin_of(ingress, "spec"), "ingressControllerMode is OFF"),)
    if (annotation := ingress.class_annotation) is not None:
        return _by_name(ingress, annotation, f"metadata.annotations[{CLASS_ANNOTATION}]", settings)
    if named is not None:
        return _by_class(ingress, named)
    if name := ingress.spec.ingress_class_name:
        return _by_name(ingress, name, _CLASS_FIELD, settings)
    return _without_class(ingress, defaults, settings)


def ineffective_parameters(found: IngressClass) -> tuple[Problem, ...]:
    """Settings of a class of ours that nobody reads."""
    if found.spec.parameters is None or found.spec.controller not in _CONTROLLERS:
        return ()
    text = f"{found.spec.controller} has no parameters"
    return (ineffective(origin_of(found, "spec.parameters"), text),)


def gateway_labels(settings: Settings) -> Mapping[str, str]:
    """The labels of the gateways that serve Ingresses, from MeshConfig as Istio reads it."""
    service = settings.ingress_service.rpartition("/")[2]
    own = service if service != _DEFAULT_SERVICE else ""
    return {ISTIO_LABEL: settings.ingress_selector or own or _DEFAULT_GATEWAY}


def _without_class(
    ingress: Ingress, defaults: Sequence[IngressClass], settings: Settings
) -> tuple[Controller | None, tuple[Problem, ...]]:
    if settings.ingress_controller_mode is IngressControllerMode.DEFAULT:
        return Controller.ISTIO, ()
    if defaults:
        return _by_class(ingress, max(defaults, key=_youngest))
    text = f"it names no class, and no IngressClass is the default; for this gateway write ingressClassName: {CLASS}"
    return None, (ineffective(origin_of(ingress, _CLASS_FIELD), text),)


def _by_class(ingress: Ingress, found: IngressClass) -> tuple[Controller | None, tuple[Problem, ...]]:
    whose = _CONTROLLERS.get(found.spec.controller)
    if whose is not None:
        return whose, ()
    text = f"{ref_of(found)} is {found.spec.controller or 'nobody'}'s: this gateway leaves it alone"
    return None, (ignored(origin_of(ingress, _CLASS_FIELD), "OfAnotherClass", text),)


def _by_name(
    ingress: Ingress, name: str, path: str, settings: Settings
) -> tuple[Controller | None, tuple[Problem, ...]]:
    """A name that no object explains: in an annotation there never is one."""
    if name == CLASS:
        return Controller.LATEEN, ()
    if name == settings.ingress_class:
        return Controller.ISTIO, ()
    if path != _CLASS_FIELD:
        return None, (ignored(origin_of(ingress, path), "OfAnotherClass", f'"{name}" is no class of this gateway\'s'),)
    text = f'there is no IngressClass "{name}": nobody looks after this'
    return None, (missing(origin_of(ingress, path), text),)


def _youngest(found: IngressClass) -> str:
    """Of several defaults Kubernetes takes the youngest; of one age the first, and they come by name."""
    return found.meta.created.isoformat() if found.meta.created else ""
