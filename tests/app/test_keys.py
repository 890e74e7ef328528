"""A control plane asks token issuers by itself, if its settings say so, and says when they are of no help."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from controlplane.app.control import open_control_plane
from controlplane.model.decode import decode
from controlplane.model.meta import ref_of
from controlplane.model.proxy import parse_node

URI = "https://nobody.invalid/keys"


@pytest.mark.parametrize("resolver", ["envoy", "control-plane"])
async def test_it_asks_if_it_is_told_to(tmp_path: Path, resolver: str) -> None:
    document = {
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"jwtRules": [{"issuer": "a", "jwksUri": URI}]},
    }
    value: Any = decode(document).value
    async with open_control_plane({"jwksResolver": resolver}, None, tmp_path / "keys") as plane:
        plane.apply({ref_of(value): value})
        plane.start_serving()
        proxy = parse_node("sidecar~10.0.0.1~a-1.default~default.svc.cluster.local", {})
        await asyncio.wait_for(plane.connected(1, proxy), 10)
        said = [(one.code, "cannot be resolved" in one.message) for one in plane.problems()]
    assert said == ([("JwksUnavailable", True)] if resolver == "control-plane" else [])
