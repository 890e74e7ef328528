"""Point 7: what `lateen compile` prints is what a live proxy holds, by its own account."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from controlplane.local.statedir import StateDirectory
from controlplane.runtime.unixhttp import request_blocking
from tests.local.meshes import EVERY_EXAMPLE, EXAMPLES, Up, compiled_as_it_runs, lay_out
from tests.proof.received import Section, compiled, differences, held

pytestmark = [pytest.mark.point, pytest.mark.timeout(600)]

# Example, and which of its further rules are put in force.
FEW = (("gateway", ""),)


def test_compile_prints_what_proxies_hold(tmp_path, request, proved):
    chosen = EVERY_EXAMPLE if request.config.getoption("--full") else FEW
    wrong, proxies, resources = [], 0, 0
    for number, (example, rules) in enumerate(chosen):
        folder = tmp_path / str(number)
        folder.mkdir()
        for proxy, (live, offline) in both_ways(folder, example, rules).items():
            assert live["listeners"] or live["clusters"], f"{example}: {proxy} holds nothing"
            wrong += [f"{example} {rules} {proxy}: {each}" for each in differences(live, offline)]
            proxies += 1
            resources += sum(map(len, live.values()))
    print(*wrong, sep="\n")
    proved(
        "7", "resources of live proxies that `lateen compile` prints differently",
        bound="0", figure=f"{len(wrong)} of {resources} in {proxies} proxies",
        holds=not wrong, cases=len(chosen), asked=len(chosen),
    )  # fmt: skip


def both_ways(folder: Path, example: str, rules: str) -> Mapping[str, tuple[dict[str, Section], dict[str, Section]]]:
    """Proxy -> what its Envoy holds, and what is compiled of the same objects."""
    directory = lay_out(folder, example)
    if rules:
        shutil.copy(EXAMPLES / example / "rules" / rules, directory / "rules.yaml")
    with Up(directory).settled() as up:
        up.synced()
        return {
            proxy: (held(dump_of(up, proxy)), compiled(document))
            for proxy, (_, document) in compiled_as_it_runs(up).items()
        }


def dump_of(up: Up, proxy: str) -> str:
    name, _, namespace = proxy.rpartition(".")
    state = StateDirectory(up.directory, up.run_directory())
    status, body = request_blocking(state.admin_socket(f"{namespace}.{name}"), "/config_dump?include_eds")
    assert status == 200, body
    return body.decode()
