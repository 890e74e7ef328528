"""The same input gives the same bytes, and connections live through what does not concern them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
from envoy.config.listener.v3 import listener_pb2

from controlplane.envoy import listener
from controlplane.ir.listener import Listener
from controlplane.model.settings import Settings
from tests.envoy import values

ROOT = Path(__file__).parents[2]
_VERSIONS = """
from tests.envoy import golden
from tests.golden.files import cases
for case in cases("envoy"):
    for resource in golden.load(case):
        print(case.name, resource.name, resource.version, *resource.refs, *resource.origins)
"""


def versions(seed: str) -> str:
    command = (sys.executable, "-c", _VERSIONS)
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def test_bytes_do_not_depend_on_the_hash_seed() -> None:
    first = versions("1")
    assert first.count("\n") > 80
    assert first == versions("2")


def outside_chains(one: Listener, settings: Settings = values.SETTINGS) -> Any:
    """What Envoy compares to decide whether only filter chains changed."""
    message = listener_pb2.Listener.FromString(listener.encode(one, settings).body)
    message.ClearField("filter_chains")
    message.ClearField("default_filter_chain")
    return message


def test_chains_change_nothing_around_them() -> None:
    before = values.listener(values.http_chain(values.virtual_host()), inspect_http=True)
    after = values.listener(
        values.tcp_chain("a", name="new"),
        values.http_chain(values.virtual_host(values.route(values.forward("b"))), xff_trusted_hops=2),
        inspect_http=True,
        default_chain=values.tcp_chain("c"),
        origins=(values.RULE,),
    )
    assert outside_chains(before) == outside_chains(after)


def test_a_chain_does_not_depend_on_its_neighbours() -> None:
    """Else a new Service would drain the connections of all others on its port."""
    alone = values.listener(values.tcp_chain("a"))
    beside = values.listener(values.tcp_chain("b", name="other"), values.tcp_chain("a"))
    chains = [
        listener_pb2.Listener.FromString(listener.encode(one, values.SETTINGS).body).filter_chains[-1]
        for one in (alone, beside)
    ]
    assert chains[0] == chains[1]


def test_settings_of_routes_do_not_touch_listeners() -> None:
    other = msgspec.structs.replace(values.SETTINGS, verify_certificate_at_client=False, cluster_domain="other.local")
    one = values.listener(values.http_chain(values.virtual_host()))
    assert listener.encode(one, values.SETTINGS).version == listener.encode(one, other).version
