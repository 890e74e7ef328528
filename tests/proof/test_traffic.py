"""Points 2 and 5: what callers notice of changes, and of a control plane that dies. Nothing.

A client's sidecar, a sidecar before each of three versions, all real Envoys, and a load that accounts for every single
request.
"""

import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from random import Random  # noqa: TID251  seeded by the test
from typing import Any

import pytest
import yaml

from controlplane.local.demo import lay_out
from tests.envoys.process import wait_for
from tests.proof.canary import HOST, PORT, VERSIONS, Rules, any_rules, any_way, weighted
from tests.proof.load import Load
from tests.proof.mesh import ProofMesh, running

pytestmark = [pytest.mark.point, pytest.mark.timeout(1200)]

RULES = "rules.yaml"
CLIENT = "front-tomcat"
URL = f"http://bill-service:{PORT}/"
ANSWERS = {
    b"this is bill-service-v1\n": "v1",
    b"hello, this is bill-service-v2\n": "v2",
    b"this is bill-service-v3\n": "v3",
}
SIGMAS = 4
WHAT_IS_SENT = {
    "delta": "responses sent after the restart, changes in Envoy",
    "sotw": "changes in Envoy by what is sent again after the restart",  # SotW has no words for "I have that already"
}
# What Envoy counts when it was sent something; attempts are left out, a reconnect is one.
SENT = (".update_success", ".update_rejected", ".config_reload", "_added", "_modified", "_removed", "cluster_updated")


Meshes = Callable[[str], ProofMesh]


@pytest.fixture(scope="module")
def meshes() -> Iterator[Meshes]:
    """One mesh for each protocol that a test asks for."""
    with ExitStack() as stack:
        yield cache(lambda protocol: stack.enter_context(running(with_third_version, delta=protocol == "delta")))


@pytest.fixture
def mesh(meshes: Meshes) -> ProofMesh:
    return meshes("delta")


def with_third_version(folder: Path) -> Path:
    """The bill-service example, and a slow version: there is always a call out to it when its subsets go."""
    directory = lay_out(folder)
    shutil.rmtree(directory / "rules")
    documents = list(yaml.safe_load_all((directory / "bill-service.yaml").read_text()))
    third = next(each for each in documents if each["metadata"]["name"] == "bill-service-v2")
    (directory / "v3.yaml").write_text(yaml.safe_dump(third).replace("v2", "v3"))
    with (directory / "Lateenfile").open("a") as file:
        file.write("""  bill-service-v3: "{python} ../server.py 'this is bill-service-v3' --slow 0.05"\n""")
    return directory


@pytest.mark.parametrize("share", [99, 50])
def test_split(share, mesh, size, proved):
    requests = size(2000, 100_000)
    use(mesh, weighted(v1=share, v2=100 - share))
    with load_on(mesh, requests=requests) as load:
        assert load.done.wait(600)
    assert not load.account.failed, load.account
    found = by_version(load)
    sigma = math.sqrt(requests * share * (100 - share)) / 100
    off = abs(found["v1"] - requests * share / 100) / sigma
    proved(
        "2", f"weighted split {share}/{100 - share}",
        bound=f"within {SIGMAS} sigma", figure=f"{found['v1']:,} / {found['v2']:,}, {off:.1f} sigma off",
        holds=off <= SIGMAS and not found["v3"], cases=load.account.total, asked=requests,
    )  # fmt: skip


@pytest.mark.parametrize("protocol", ["delta", "sotw"])
def test_changes_under_load(protocol, meshes, size, proved):
    mesh = meshes(protocol)
    asked = size(8, 100)
    random = Random(20)
    rules = weighted(v1=50, v2=50)
    use(mesh, rules)
    with load_on(mesh) as load:
        for _ in range(asked):
            after = any_rules(random, rules)
            for step in any_way(random, rules, after):
                put(mesh, step)
                wait_somehow(random, mesh, step, load)
            rules = after
        wait_in_force(mesh, rules)
    print(load.account)
    assert_split(mesh, rules, size(500, 5000))
    assert not refusals(mesh)
    proved(
        "2", f"failed requests while subsets and weights change, {protocol}",
        bound="0", figure=f"{load.account.failed.total()} of {load.account.total:,}, slowest {load.account.slowest:.2f} s",
        holds=not load.account.failed, cases=asked, asked=asked,
    )  # fmt: skip


@pytest.mark.parametrize("protocol", ["delta", "sotw"])
def test_killed_under_load(protocol, meshes, size, proved):
    mesh = meshes(protocol)
    asked = size(1, 10)
    use(mesh, weighted(v1=50, v2=30, v3=20))
    sent: list[str] = []
    longest = 0.0  # seconds until all proxies were back
    with load_on(mesh) as load:
        for _ in range(asked):
            before = received(mesh)
            assert all(before.values()), before
            types = mesh.statuses()
            mesh.control.kill()
            load.wait_for(size(500, 5000))
            mesh.control.start()
            started = load.seconds
            wait_reconnected(mesh, types)
            longest = max(longest, load.seconds - started)
            load.wait_for(500)
            sent += [f"{name} {kind}" for name, kind in responses(mesh) if protocol == "delta"]
            sent += [each for each in differences(before, received(mesh)) if protocol == "delta" or not is_repeat(each)]
    print(load.account, *sent, sep="\n")
    proved(
        "5", f"failed requests while the control plane is killed and comes back, {protocol}",
        bound="0", figure=f"{load.account.failed.total()} of {load.account.total:,}",
        holds=not load.account.failed, cases=asked, asked=asked,
    )  # fmt: skip
    proved(
        "5", f"{WHAT_IS_SENT[protocol]}, {protocol}",
        bound="0", figure=f"{len(sent)}; all were back after {longest:.1f} s",
        holds=not sent, cases=asked * len(mesh.envoys), asked=asked * len(mesh.envoys),
    )  # fmt: skip


def test_changed_while_it_was_down(mesh, size, proved):
    """What was missed comes after the restart, it alone."""
    asked = size(1, 5)
    wrong: list[str] = []
    random = Random(5)
    with load_on(mesh) as load:
        for _ in range(asked):
            use(mesh, weighted(v1=50, v2=50))
            types = mesh.statuses()
            mesh.control.kill()
            share = random.randint(1, 40)
            rules = weighted(v1=share, v2=100 - share)
            put(mesh, rules)
            load.wait_for(200)
            mesh.control.start()
            wait_reconnected(mesh, types)
            wait_in_force(mesh, rules)
            wrong += [f"{name} {kind}" for name, kind in responses(mesh) if kind != "VHDS"]
    assert_split(mesh, rules, size(500, 5000))
    proved(
        "5", "a weight changed while it was down: other types sent, failed requests",
        bound="0, 0", figure=f"{len(wrong)}, {load.account.failed.total()} of {load.account.total:,}",
        holds=not wrong and not load.account.failed, cases=asked, asked=asked,
    )  # fmt: skip


# Rules


def put(mesh: ProofMesh, rules: Rules) -> None:
    mesh.write(RULES, *rules.objects())


def use(mesh: ProofMesh, rules: Rules) -> None:
    put(mesh, rules)
    wait_in_force(mesh, rules)


def wait_in_force(mesh: ProofMesh, rules: Rules) -> None:
    """Until all proxies have acknowledged what the rules make."""
    wait_known(mesh, rules)
    mesh.wait_synced()


def wait_known(mesh: ProofMesh, rules: Rules) -> None:
    """Until the control plane has read the rules."""
    wanted = ({name: address_of(mesh, each.version) for name, each in rules.subsets.items()}, positive(rules.weights))
    wait_for(
        lambda: in_force(mesh) == wanted,
        lambda: f"{wanted}, there is {in_force(mesh)}; {mesh.control.ask('/problems')}",
        mesh.control.check_alive,
    )


def wait_somehow(random: Random, mesh: ProofMesh, rules: Rules, load: Load) -> None:
    """A user may be patient, or not: the next change comes in the middle of this one."""
    match random.choice(("not at all", "a moment", "known", "in force", "in force")):
        case "a moment":
            load.wait_for(random.randint(1, 300))
        case "known":
            wait_known(mesh, rules)
        case "in force":
            wait_in_force(mesh, rules)
            load.wait_for(100)


def in_force(mesh: ProofMesh) -> tuple[dict[str, str], dict[str, int]]:
    """Subset -> address of its replica, and subset -> weight: what the client's sidecar should have."""
    config = mesh.config(mesh.proxy(CLIENT))
    addresses = {}
    for assignment in config["endpoints"]:
        _, port, subset, host = assignment["clusterName"].split("|")
        if (port, host) == (str(PORT), HOST) and subset:
            addresses[subset] = " ".join(endpoint_addresses(assignment))
    return addresses, positive(weights_of(config))


def endpoint_addresses(assignment: Mapping[str, Any]) -> list[str]:
    return [
        endpoint["endpoint"]["address"]["socketAddress"]["address"]
        for group in assignment.get("endpoints", ())
        for endpoint in group["lbEndpoints"]
    ]


def weights_of(config: Mapping[str, Any]) -> dict[str, int]:
    """Subset -> weight, of the service's first route."""
    hosts = [host for route in config["routes"] for host in route.get("virtualHosts", ()) if HOST in host["domains"]]
    action = hosts[0]["routes"][0]["route"] if hosts else {}
    if "cluster" in action:
        return {action["cluster"].split("|")[2]: 100}
    clusters = action.get("weightedClusters", {}).get("clusters", ())
    return {each["name"].split("|")[2]: each.get("weight", 0) for each in clusters}


def positive(weights: Mapping[str, int]) -> dict[str, int]:
    return {name: weight for name, weight in weights.items() if weight}


def address_of(mesh: ProofMesh, version: str) -> str:
    return mesh.replica(f"bill-service-{version}").address


# Calls


def load_on(mesh: ProofMesh, requests: int | None = None) -> Load:
    replica = mesh.replica(CLIENT)
    return Load(replica.address, replica.http_proxy_port, URL, requests=requests)


def by_version(load: Load) -> Counter[str]:
    """Answers by who gave them. An answer that is nobody's is an error."""
    found: Counter[str] = Counter()
    for body, count in load.account.answers.items():
        found[ANSWERS[body]] += count
    return found


def assert_split(mesh: ProofMesh, rules: Rules, requests: int) -> None:
    with load_on(mesh, requests=requests) as load:
        assert load.done.wait(600)
    assert not load.account.failed, load.account
    found = by_version(load)
    for version in VERSIONS:
        share = rules.shares()[version]
        assert abs(found[version] - requests * share) <= SIGMAS * math.sqrt(requests * share * (1 - share)), found


# Who was sent what


def wait_reconnected(mesh: ProofMesh, types: Mapping[str, Mapping[str, str]]) -> None:
    """Until every proxy is back and has asked for every type it asked for before."""

    def back() -> bool:
        now = mesh.statuses()
        return all(now.get(name, {}).keys() >= kinds.keys() for name, kinds in types.items())

    wait_for(back, lambda: f"proxies to come back: {mesh.statuses()}", mesh.control.check_alive)
    mesh.wait_synced()


def responses(mesh: ProofMesh) -> list[tuple[str, str]]:
    """(proxy, type) of which anything was sent on the streams that are open now."""
    return [(one["name"], kind) for one in mesh.proxies() for kind, each in one["types"].items() if each["told"]]


def received(mesh: ProofMesh) -> dict[str, dict[str, int]]:
    """Proxy -> what Envoy counts of configuration that it was sent."""
    return {
        name: {key: value for key, value in envoy.stats().items() if key.endswith(SENT)}
        for name, envoy in mesh.envoys.items()
    }


def differences(before: Mapping[str, dict[str, int]], after: Mapping[str, dict[str, int]]) -> list[str]:
    return [
        f"{name}: {key} {before[name].get(key)} -> {value}"
        for name, stats in after.items()
        for key, value in stats.items()
        if before[name].get(key) != value
    ]


def is_repeat(difference: str) -> bool:
    """Whether it is only that Envoy was told what it knew."""
    return ".update_success " in difference


def refusals(mesh: ProofMesh) -> list[Any]:
    """What any Envoy refused."""
    counted = [
        f"{name} {key}"
        for name, stats in received(mesh).items()
        for key, value in stats.items()
        if "rejected" in key and value
    ]
    return [*counted, *(each for each in mesh.control.ask("/problems") if each["code"] == "RefusedByProxy")]
