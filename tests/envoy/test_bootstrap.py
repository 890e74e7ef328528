"""Bootstraps, judged by the real Envoy."""

import json
import subprocess
from pathlib import Path

import pytest

from controlplane.envoy.bootstrap import FILE, MINIMAL_STATS, ProxyBootstrap, TlsServer, UnixServer, files
from tests.envoys.binary import envoy_binary
from tests.envoys.certificates import leaf, root_certificate


def unix(folder: Path) -> UnixServer:
    return UnixServer(str(folder / "xds.sock"))


def tls(folder: Path) -> TlsServer:
    pair = leaf("control-plane.lateen-system.svc")
    for name, text in (("tls.crt", pair.certificate), ("tls.key", pair.key), ("ca.crt", root_certificate())):
        (folder / name).write_text(text)
    return TlsServer(
        host="127.0.0.1",
        port=15012,
        folder=str(folder),
        chain=str(folder / "tls.crt"),
        key=str(folder / "tls.key"),
        roots=str(folder / "ca.crt"),
        server_name="control-plane.lateen-system.svc",
    )


def proxy(server: UnixServer | TlsServer, folder: Path, *, delta: bool = True) -> ProxyBootstrap:
    return ProxyBootstrap(
        node_id="sidecar~10.0.0.7~reviews.default~default.svc.cluster.local",
        cluster="reviews.default",
        server=server,
        admin=str(folder / "admin.sock"),
        metadata={"LABELS": {"app": "reviews"}, "INSTANCE_IPS": "10.0.0.7", "PROXY_CONFIG": {"concurrency": 2}},
        locality="region/zone/subzone",
        delta=delta,
        stats=MINIMAL_STATS,
    )


def write(proxy: ProxyBootstrap, folder: Path) -> dict[str, str]:
    written = dict(files(proxy, folder))
    for name, text in written.items():
        (folder / name).write_text(text)
    return written


@pytest.mark.parametrize("server", [unix, tls])
@pytest.mark.parametrize("stream", ["delta", "whole"])
def test_envoy_takes_it(server, stream: str, tmp_path: Path) -> None:
    write(proxy(server(tmp_path), tmp_path, delta=stream == "delta"), tmp_path)
    command = (str(envoy_binary()), "--mode", "validate", "--log-level", "warn", "-c", str(tmp_path / FILE))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_unix_control_plane_needs_one_file(tmp_path: Path) -> None:
    assert list(files(proxy(unix(tmp_path), tmp_path), tmp_path)) == [FILE]


def test_no_private_key_is_written_into_any_file(tmp_path: Path) -> None:
    server = tls(tmp_path)
    written = files(proxy(server, tmp_path), tmp_path)
    assert len(written) == 3
    assert not any("PRIVATE KEY" in text for text in written.values())


def test_the_node_says_who_it_is(tmp_path: Path) -> None:
    node = json.loads(files(proxy(unix(tmp_path), tmp_path), tmp_path)[FILE])["node"]
    assert node["id"] == "sidecar~10.0.0.7~reviews.default~default.svc.cluster.local"
    assert node["metadata"]["LABELS"] == {"app": "reviews"}
    assert node["locality"] == {"region": "region", "zone": "zone", "subZone": "subzone"}


@pytest.mark.parametrize("expected", ["DELTA_GRPC", "GRPC"])
def test_protocol_of_the_stream(expected: str, tmp_path: Path) -> None:
    written = json.loads(files(proxy(unix(tmp_path), tmp_path, delta=expected == "DELTA_GRPC"), tmp_path)[FILE])
    assert written["dynamicResources"]["adsConfig"]["apiType"] == expected


def test_all_statistics_are_kept_when_none_are_named(tmp_path: Path) -> None:
    everything = ProxyBootstrap(node_id="a", cluster="a", server=unix(tmp_path), admin="127.0.0.1:15000")
    written = json.loads(files(everything, tmp_path)[FILE])
    assert "statsMatcher" not in written["statsConfig"]
    assert written["admin"]["address"]["socketAddress"] == {"address": "127.0.0.1", "portValue": 15000}


def test_relative_paths_are_the_same_for_every_folder_and_envoy_takes_them(tmp_path: Path) -> None:
    """As agents get them: Envoy is started in its folder, and nothing says where that is."""
    server = TlsServer("127.0.0.1", 15010, "identity", "identity/c.pem", "identity/k.pem", "identity/r.pem", "name")
    own = ProxyBootstrap(node_id="a", cluster="a", server=server, admin="admin.sock", prometheus="127.0.0.1:15090")
    written = write_relative(own, tmp_path)
    assert str(tmp_path) not in "".join(written.values())
    pair = leaf("name")
    (tmp_path / "identity").mkdir()
    for name, text in (("c.pem", pair.certificate), ("k.pem", pair.key), ("r.pem", root_certificate())):
        (tmp_path / "identity" / name).write_text(text)
    command = (str(envoy_binary()), "--mode", "validate", "--log-level", "warn", "-c", FILE)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def write_relative(proxy: ProxyBootstrap, folder: Path) -> dict[str, str]:
    written = dict(files(proxy, Path()))
    for name, text in written.items():
        (folder / name).write_text(text)
    return written


def test_each_stream_to_the_control_plane_has_a_connection_of_its_own(tmp_path: Path) -> None:
    """Or the next stream would come with the certificate of an earlier day."""
    written = json.loads(files(proxy(tls(tmp_path), tmp_path), tmp_path)[FILE])
    (cluster,) = written["staticResources"]["clusters"]
    (options,) = cluster["typedExtensionProtocolOptions"].values()
    assert options["commonHttpProtocolOptions"]["maxRequestsPerConnection"] == 1


def test_the_port_for_statistics_has_one_route_and_compares_all_of_the_path(tmp_path: Path) -> None:
    own = ProxyBootstrap(node_id="a", cluster="a", server=unix(tmp_path), admin="admin.sock", prometheus="[::1]:15090")
    written = json.loads(files(own, tmp_path)[FILE])["staticResources"]
    (listener,) = written["listeners"]
    assert listener["address"]["socketAddress"] == {"address": "::1", "portValue": 15090}
    ((chain,),) = (listener["filterChains"],)
    (host,) = chain["filters"][0]["typedConfig"]["routeConfig"]["virtualHosts"]
    (route,) = host["routes"]
    assert route["match"]["path"] == "/stats/prometheus"
    assert {each["name"]: each["stringMatch"]["exact"] for each in route["match"]["headers"]} == {
        ":path": "/stats/prometheus",
        ":method": "GET",
    }
