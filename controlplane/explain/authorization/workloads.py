"""Finding callers and workloads by the names people use."""

from collections.abc import Iterator, Mapping

import msgspec

from controlplane.model import core
from controlplane.model.kinds import Object
from controlplane.model.problem import ObjectRef

_DEFAULT_ACCOUNT = "default"


class Workload(msgspec.Struct, frozen=True):
    """What policies are for, and who calls."""

    namespace: str
    labels: Mapping[str, str]
    account: str = _DEFAULT_ACCOUNT
    named_ports: Mapping[str, int] = {}
    ports: tuple[int, ...] = ()  # where it listens, as far as it says so
    behind: Mapping[int, int] = {}  # port of the Service it was found by -> its own

    def port(self, number: int) -> int:
        """Its own port, if this is one of its Service's."""
        return self.behind.get(number, number)

    @property
    def usual_port(self) -> int:
        """Where it is called when nobody says where."""
        return next(iter((*self.behind.values(), *self.ports)), 80)


def find(objects: Mapping[ObjectRef, Object], namespace: str, name: str) -> Workload | None:
    """A Deployment, a Pod, or what a Service selects; a Pod may be named by what its name begins with."""
    deployment = objects.get(ObjectRef("apps", "Deployment", namespace, name))
    if isinstance(deployment, core.Deployment):
        return _of_deployment(deployment)
    service = objects.get(ObjectRef("", "Service", namespace, name))
    if isinstance(service, core.Service):
        return _of_service(objects, service)
    named = (pod for pod in _pods(objects) if pod.meta.namespace == namespace)
    pods = (pod for pod in named if pod.meta.name == name or pod.meta.name.startswith(f"{name}-"))
    return next(map(_of_pod, pods), None)


def _of_deployment(deployment: core.Deployment) -> Workload:
    template = deployment.spec.template
    return _workload(deployment.meta.namespace, template.meta.labels, template.spec)


def _of_pod(pod: core.Pod) -> Workload:
    return _workload(pod.meta.namespace, pod.meta.labels, pod.spec)


def _workload(namespace: str, labels: Mapping[str, str], spec: core.PodSpec) -> Workload:
    ports = [port for container in spec.containers for port in container.ports]
    return Workload(
        namespace,
        labels,
        spec.service_account_name or _DEFAULT_ACCOUNT,
        {port.name: port.container_port for port in ports if port.name},
        tuple(port.container_port for port in ports),
    )


def _of_service(objects: Mapping[ObjectRef, Object], service: core.Service) -> Workload:
    """The first workload it selects; one with the labels it asks for, if there is none."""
    namespace, wanted = service.meta.namespace, service.spec.selector
    there = (one for one in _workloads(objects) if one.namespace == namespace)
    selected = (one for one in there if wanted and wanted.items() <= one.labels.items())
    found = next(selected, Workload(namespace, wanted))
    behind = {port.port: _target(port, found) for port in service.spec.ports}
    return msgspec.structs.replace(found, behind=behind)


def _target(port: core.ServicePort, workload: Workload) -> int:
    if isinstance(port.target_port, str):
        return workload.named_ports.get(port.target_port, port.port)
    return port.target_port or port.port


def _workloads(objects: Mapping[ObjectRef, Object]) -> Iterator[Workload]:
    for ref in sorted(objects):
        value = objects[ref]
        if isinstance(value, core.Deployment):
            yield _of_deployment(value)
    yield from map(_of_pod, _pods(objects))


def _pods(objects: Mapping[ObjectRef, Object]) -> Iterator[core.Pod]:
    for ref in sorted(objects):
        value = objects[ref]
        if isinstance(value, core.Pod):
            yield value
