"""`lateen compile`: files in, the configuration of one proxy out."""

import ipaddress
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import typer

from controlplane.app.offline import compile_proxy
from controlplane.cli.output import Document, print_document
from controlplane.cli.refusal import Refused
from controlplane.cli.settings import read_mesh_config
from controlplane.envoy import render
from controlplane.model.decode import decode
from controlplane.model.meshconfig import decode_settings
from controlplane.model.problem import Problem
from controlplane.model.proxy import BadNodeError, Proxy, parse_node
from controlplane.model.validate.common import is_dns_label, is_object_name
from controlplane.sources.files.once import read_once
from controlplane.sources.files.scanning import Roots, read_text
from controlplane.sources.source import Batch

_TYPES = {"sidecar": "sidecar", "gateway": "router", "router": "router"}
_STDIN = "-"
# As in a cluster and under `lateen up`; a mesh of hand-started Envoys (`lateen serve`) says otherwise in its settings.
USUAL: Final[Mapping[str, Any]] = {"workloadCertificates": True}
Who = tuple[str, str, str, str, str | None, str, str]


def compile_(  # noqa: PLR0913  (the options of one command)
    paths: Sequence[str],
    *,
    who: Who,
    mesh_config: Path | None,
    recursive: bool,
    strict: bool,
    show_secrets: bool,
    output: Document,
) -> None:
    """Print one document."""
    proxy = _proxy(who)
    settings, settings_problems = decode_settings({**USUAL, **read_mesh_config(mesh_config)})
    batch = read_manifests(paths, recursive=recursive)
    objects = {ref: value for ref, value in batch.changes.items() if value is not None}
    compiled = compile_proxy(objects, proxy, settings)
    problems = tuple(dict.fromkeys((*settings_problems, *batch.problems, *compiled.problems)))
    document: dict[str, Any] = render.document(compiled.resources, show_secrets=show_secrets)
    print_document({**document, "problems": [_row(problem) for problem in problems]}, output)
    if strict and problems:
        raise typer.Exit(1)


def read_manifests(paths: Sequence[str], *, recursive: bool) -> Batch:
    """What `-f` names: files, directories, standard input. Refuses with one line."""
    for path in paths:
        if not path or (path != _STDIN and not Path(path).exists()):
            raise Refused(f"{path or '-f'}: no such file or directory")
    streams = [path for path in paths if path == _STDIN or _is_stream(Path(path))]
    files = tuple(Path(path) for path in paths if path not in streams)
    texts = dict(_stream(path) for path in dict.fromkeys(streams))
    batch = read_once(Roots(files, recursive), decode, texts)
    if not batch.manifests and not batch.problems:
        typer.echo("lateen: there are no manifests here (subdirectories are read with -R)", err=True)
    return batch


def _is_stream(path: Path) -> bool:
    """`-f <(kubectl get … -o yaml)` is a pipe under a name; a directory is read by what files it has."""
    return not path.is_dir() and not path.is_file()


def _stream(path: str) -> tuple[str, str]:
    """The name problems give it, and its text."""
    name = "<stdin>" if path == _STDIN else path
    try:
        return name, read_text(0 if path == _STDIN else path)
    except OSError as error:
        raise Refused(f"{name}: {error.strerror}") from error
    except ValueError as error:
        raise Refused(f"{name}: {error}") from error


def _proxy(who: Who) -> Proxy:
    kind, namespace, name, labels, ip, service_account, metadata = who
    if kind not in _TYPES:
        raise Refused(f"--type {kind}: there are sidecar and gateway")
    for option, given in (("--namespace", namespace), ("--name", name)):
        if not (is_dns_label(given) if option == "--namespace" else is_object_name(given)):
            raise Refused(f"{option} {given!r}: use lower-case letters, digits and '-'")
    try:
        address = str(ipaddress.ip_address(ip)) if ip is not None else ""
    except ValueError as error:
        raise Refused(f"--ip {ip}: {error}") from error
    facts: dict[str, Any] = {
        "NAMESPACE": namespace,
        "NAME": name,
        "LABELS": _labels(labels),
        "SERVICE_ACCOUNT": service_account,
        **({"INSTANCE_IPS": address} if address else {}),
        **_metadata(metadata),
    }
    node_id = f"{_TYPES[kind]}~{address or '0.0.0.0'}~{name}.{namespace}~{namespace}.svc.cluster.local"  # noqa: S104  (as Istio writes "no address")
    try:
        return parse_node(node_id, facts)
    except BadNodeError as error:
        raise Refused(str(error)) from error


def _labels(text: str) -> Mapping[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    for key, equals, value in pairs:
        if not equals or not key.strip():
            raise Refused(f"--labels {text}: {key + equals + value!r} is not key=value")
    return {key.strip(): value.strip() for key, _, value in pairs}


def _metadata(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(f"--metadata is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise Refused("--metadata is not a JSON object")
    return found


def _row(problem: Problem) -> Mapping[str, Any]:
    ref = problem.origin.ref
    return {
        "code": problem.code,
        "level": str(problem.level),
        "object": {"group": ref.group, "kind": ref.kind, "namespace": ref.namespace, "name": ref.name},
        "path": problem.origin.path,
        "message": problem.message,
    }
