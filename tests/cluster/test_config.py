"""The node's files and programs refer to each other by paths: every one of them is made by somebody."""

import json
from datetime import UTC, datetime
from pathlib import Path

import yaml

from e2e.cluster import config, pki
from e2e.cluster.addresses import CONFIG, DNS, HOME, PKI
from e2e.cluster.building import version
from e2e.cluster.programs import programs

_MANIFESTS = Path(config.__file__).parent / "manifests"
_MADE_BY_PROGRAMS = ("etcd", "kubelet", "containerd", "control", "logs")


def _strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in _strings(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in _strings(inner)]
    return [value] if isinstance(value, str) else []


def _mentioned() -> set[Path]:
    """Paths below the node's folder in files and on command lines."""
    texts = [
        text
        for path, data in config.files().items()
        if path.suffix != ".toml" and data
        for text in _strings(json.loads(data))
    ]
    texts += [word.rpartition("=")[2] for program in programs().values() for word in program.arguments]
    return {Path(text) for text in texts if text.startswith(str(HOME))}


def test_every_file_that_is_named_is_there(tmp_path: Path) -> None:
    pki.write(tmp_path / "pki", datetime(2026, 11, 21, tzinfo=UTC))
    made = {*config.files(), *(PKI / path.name for path in (tmp_path / "pki").iterdir())}
    mentioned = _mentioned()
    assert mentioned & {PKI / "ca.crt", CONFIG / "kubelet.json"}
    missing = {path for path in mentioned - made if path.relative_to(HOME).parts[0] not in _MADE_BY_PROGRAMS}
    assert missing == set()


def test_addresses_in_manifests_are_those_of_the_node() -> None:
    text = (_MANIFESTS / "coredns.yaml").read_text()
    services = [item for item in yaml.safe_load_all(text) if item["kind"] == "Service"]
    assert [service["spec"]["clusterIP"] for service in services] == [DNS]
    assert json.loads(config.files()[config.KUBELET])["clusterDNS"] == [DNS]


def test_versions_are_those_of_the_modules() -> None:
    assert version("kubernetes").startswith("1.36.")
    assert version("etcd")
    assert version("coredns")
    assert version("pause") == "", "nobody's release"
