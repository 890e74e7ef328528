"""`envoy --mode validate` on every example, with each of the rules it comes with, everything inlined."""

import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.app.offline import compile_proxy
from controlplane.explain import decode
from controlplane.local.lateenfile import NAME, load
from controlplane.local.node import gateway_node, sidecar_node
from controlplane.local.objects import Health
from controlplane.local.publishing import world
from controlplane.model.decode import decode as decoded
from controlplane.model.meshconfig import decode_settings
from controlplane.model.problem import Level
from controlplane.model.proxy import parse_node
from controlplane.sources.files.once import read_once
from controlplane.sources.files.scanning import Roots
from tests.conftest import Proved
from tests.envoys import validate
from tests.local.meshes import EVERY_EXAMPLE, lay_out
from tests.proof.mesh import planned


@pytest.mark.point
@pytest.mark.parametrize(("example", "rules"), EVERY_EXAMPLE)
def test_envoy_takes_every_example(example: str, rules: str, tmp_path: Path, proved: Proved) -> None:
    refused, proxies = refusals(with_rules(tmp_path, example, rules))
    print(*refused, sep="\n")
    proved(
        "3", "examples, with each of their rules: configurations that `envoy --mode validate` refuses",
        bound="0", figure=str(len(refused)), holds=not refused, cases=proxies, asked=2,
    )  # fmt: skip


def test_all_examples_are_there() -> None:
    assert len({example for example, _ in EVERY_EXAMPLE}) >= 4
    assert len(EVERY_EXAMPLE) >= 9


def with_rules(folder: Path, example: str, rules: str) -> Path:
    directory = lay_out(folder, example)
    if rules:
        (directory / "rules.yaml").write_bytes((directory / "rules" / rules).read_bytes())
    if (script := directory / "certificate.py").exists():
        made = subprocess.run([sys.executable, script], capture_output=True, check=True)
        (directory / "certificate.yaml").write_bytes(made.stdout)
    return directory


def refusals(directory: Path) -> tuple[list[str], int]:
    """What Envoy holds against the configurations of all proxies of a directory, and how many there are."""
    plan = planned(directory)
    made = world(plan, (), {replica.key: Health.READY for replica in plan.replicas})
    written = read_once(Roots((directory,)), decoded).changes
    objects = {ref: value for ref, value in written.items() if value is not None}
    objects |= {ref: decoded(manifest).value for ref, manifest in made.items()}
    nodes = [*map(sidecar_node, plan.replicas), *map(gateway_node, plan.gateways)]
    refused: list[str] = []
    settings, problems = decode_settings(
        {"workloadCertificates": True, "refuseLocalEndpoints": False, **load([directory / NAME]).mesh_config}
    )
    assert not problems
    for node in nodes:
        compiled = compile_proxy(objects, parse_node(node.id, node.metadata), settings)
        assert not [problem for problem in compiled.problems if problem.level is Level.ERROR]
        resources, _ = decode(compiled.resources)
        assert resources.listeners
        refused += [f"{directory.name} {node.id}: {each}" for each in validate(resources)]
    return refused, len(nodes)
