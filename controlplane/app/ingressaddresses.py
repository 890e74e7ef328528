"""Where Ingresses are reached: the addresses of their gateway, as the cluster has them now."""

from collections.abc import Iterator

from controlplane.app.control import ControlPlane
from controlplane.gatewayapi.ingress import GatewayAddress, addresses, gateway_service
from controlplane.model import core
from controlplane.model.ingress import Ingress
from controlplane.model.problem import ObjectRef

INGRESS = (Ingress.GROUP, Ingress.KIND)


class IngressAddresses:
    """The same for all Ingresses."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control
        self.now: tuple[GatewayAddress, ...] = ()

    def look(self) -> bool:
        """Whether they are others than before. It may take a look at all Pods of a namespace."""
        before, self.now = self.now, self._found()
        return self.now != before

    def is_served(self, ref: ObjectRef) -> bool:
        """Whether an Ingress is ours."""
        graph = self._control.graph
        return graph.store.get(graph.ingresses.controllers, (ref.namespace, ref.name)) is not None

    def all(self) -> Iterator[ObjectRef]:
        """Those that are ours."""
        graph = self._control.graph
        for (namespace, name), _ in graph.store.items(graph.ingresses.controllers):
            yield ObjectRef(*INGRESS, namespace, name)

    def _found(self) -> tuple[GatewayAddress, ...]:
        graph, key = self._control.graph, gateway_service(self._control.current_settings())
        service = graph.store.get(graph.inputs.services, key)
        return addresses(service, self._nodes(key[0], service) if service is not None else ())

    def _nodes(self, namespace: str, service: core.Service) -> Iterator[str]:
        """Where the Pods behind it run."""
        wanted = service.spec.selector.items()
        for (where, _), pod in self._control.graph.store.items(self._control.graph.inputs.pods):
            if where == namespace and wanted and wanted <= pod.meta.labels.items() and pod.ready:
                yield pod.status.host_ip
