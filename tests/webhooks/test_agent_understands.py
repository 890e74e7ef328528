"""What injection tells the agent is what the agent reads: its own parsers take the container apart, flag by flag."""

import pytest

from controlplane.agent.capture.command import _parser, _wanted
from controlplane.agent.flags import FLAGS
from controlplane.agent.settings import read_settings
from controlplane.agent.status import Status, status_routes
from controlplane.agent.words import Words
from controlplane.webhooks.injection.render import Injected
from controlplane.webhooks.injection.volumes import MOUNTS
from tests.golden.files import cases
from tests.webhooks.golden import Case

_FIELDS = {
    "metadata.name": "cart-7d", "metadata.namespace": "shop", "status.podIP": "10.1.2.3",
    "spec.serviceAccountName": "cart", "spec.nodeName": "node-1",
}  # fmt: skip
CASES = [case for case in cases("injection") if isinstance(Case(case).outcome(), Injected)]


def containers(case):
    outcome = Case(case).outcome()
    assert isinstance(outcome, Injected)
    pod = outcome.pod
    return {one["name"]: one for one in [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]}, pod


def environment(container):
    found = {}
    for one in container["env"]:
        given = one["value"] if "value" in one else _FIELDS[one["valueFrom"]["fieldRef"]["fieldPath"]]
        found[one["name"]] = given
    return found


def settings(container):
    variables = environment(container)
    role, *flags = container["args"]
    given = dict(flag.removeprefix("--").split("=", 1) for flag in flags)
    given["domain"] = given["domain"].replace("$(POD_NAMESPACE)", variables["POD_NAMESPACE"])
    assert given.keys() <= {flag.name for flag in FLAGS}
    return read_settings(role, Words(given, variables, lambda _: 'app="cart"'))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_agent_starts_with_it(case):
    found, pod = containers(case)
    read = settings(found["istio-proxy"])
    assert read.expected_name == "spiffe://cluster.local/ns/shop/sa/cart"
    assert read.node.id.split("~")[1] == "10.1.2.3"
    assert read.node.metadata["NODE_NAME"] == "node-1"
    # each probe that leads to the agent's port is a path that the agent has
    status = Status(_answer, _answer, _probe, read.status.probers, _answer, _answer)
    routes = {route.path for route in status_routes(status)}
    asked = list(_asked(pod["spec"], read.status.port))
    assert {path for path in asked if path.startswith("/app-")} <= routes
    assert len([path for path in asked if path.startswith("/app-")]) == len(read.status.probers)
    # and each file it looks for is mounted
    paths = {mount["mountPath"] for mount in found["istio-proxy"]["volumeMounts"]}
    assert {path for _, path in MOUNTS} <= paths
    assert str(read.bundle.parent) in paths
    assert str(read.token.parent) in paths
    assert str(read.directory.parent) in paths


async def _answer(_request):
    raise NotImplementedError


async def _probe(_prober, _request):
    raise NotImplementedError


def _asked(spec, port):
    for container in [*(spec.get("initContainers") or []), *spec["containers"]]:
        hooks = container.get("lifecycle") or {}
        probes = [container.get(f"{kind}Probe") for kind in ("liveness", "readiness", "startup")]
        for probe in [*probes, hooks.get("preStop"), hooks.get("postStart")]:
            if probe and probe.get("httpGet", {}).get("port") == port:
                yield probe["httpGet"]["path"]


def test_how_long_it_drains():
    """A native sidecar: until nobody is connected. Who says otherwise, and an ordinary container: as the agent does."""
    drains = {case.name: settings(containers(case)[0]["istio-proxy"]).drain for case in CASES}
    assert (drains["ordinary-application"].until_idle, drains["ordinary-application"].most) == (True, 5.0)
    assert drains["ordinary-application"].least == 0.1
    assert (drains["ordinary-container"].until_idle, drains["ordinary-container"].time) == (False, 5.0)
    assert (drains["gateway-of-istios-chart"].until_idle, drains["proxy-config"].time) == (False, 20.0)
    assert (drains["proxy-config"].until_idle, drains["proxy-config"].least) == (True, 10.0)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_capture_takes_its_flags(case):
    found, _ = containers(case)
    if "istio-init" not in found:
        return
    wanted = _wanted(_parser().parse_args(found["istio-init"]["args"]))
    assert found["istio-init"]["command"] == ["lateen", "agent", "capture"]
    agent_port = settings(found["istio-proxy"]).status.port
    assert {agent_port, 15021, 15090} <= set(wanted.exclude_inbound)
    user = found["istio-proxy"]["securityContext"]["runAsUser"]
    assert (wanted.uid, wanted.gid) == (user, user)


def test_every_flag_of_capture_is_said():
    found, _ = containers(next(case for case in CASES if case.name == "every-annotation"))
    said = _wanted(_parser().parse_args(found["istio-init"]["args"]))
    default = _wanted(_parser().parse_args([]))
    same = [name for name in said.__struct_fields__ if getattr(said, name) == getattr(default, name)]
    assert same == ["outbound_port", "inbound_port", "uid", "gid"]
