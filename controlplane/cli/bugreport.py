"""`lateen bug-report`: one file with what somebody else needs to understand what is wrong, and no secret in it.

What cannot be had is said in the report instead of ending it: a report is wanted when things do not work. No object is
in it but those the mesh reads, by name; no Secret is read for it, and everything goes through `redaction` on its way.
"""

import io
import json
import os
import platform
import tarfile
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import typer

from controlplane.cli.asking import Proxy, Whom, ask, ask_about, ask_each
from controlplane.cli.clusters import ask as ask_cluster
from controlplane.cli.objects import objects_of_cluster
from controlplane.cli.redaction import redact, redact_text
from controlplane.cli.refusal import Refused
from controlplane.cli.version import versions
from controlplane.install.api import Api, RefusedError, UnreachableError
from controlplane.install.lateend import APP
from controlplane.local.statedir import NAME as STATE
from controlplane.local.statedir import running
from controlplane.runtime.clock import SystemClock

_FOLDER: Final = "lateen-bug-report"
_LONGEST_LOG: Final = 1024 * 1024  # bytes of each, the last ones
_LOG_LINES: Final = 5000
_PLAIN: Final = {"problems": "/problems", "proxies": "/proxies", "settings": "/settings", "authority": "/ca"}
_ALLOWED: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def bug_report(whom: Whom, file: Path, proxies: int, now: datetime) -> None:
    """Write the report. `proxies`: how many of them are in it with all they are sent. Refuses with one line."""
    try:
        written = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise Refused(f"{file} is there already: give another name") from error
    try:
        with os.fdopen(written, "wb") as opened:
            report = _made(whom, proxies, now)
            opened.write(report.packed(now))
    except BaseException:
        file.unlink()
        raise
    typer.echo(f"{file}: look into it before you give it away", err=True)
    for what, why in report.missing.items():
        typer.echo(f"lateen: without {what}: {why}", err=True)


def write(whom: Whom, file: Path, proxies: int) -> None:
    """`bug_report`, now."""
    bug_report(whom, file, proxies, SystemClock().now())


def _made(whom: Whom, proxies: int, now: datetime) -> "_Report":
    report = _Report()
    report.document("about", lambda: _about(whom, now))
    for name, target in _PLAIN.items():
        report.document(name, partial(ask, whom, target))
    report.document("control-planes", lambda: [{"name": one.replica, **one.body} for one in ask_each(whom, "/version")])
    report.document("objects", lambda: _objects(report, whom))
    _proxies(report, whom, proxies)
    _logs(report, whom)
    report.document("missing", lambda: report.missing)
    return report


class _Report:
    """Files, each without secrets."""

    def __init__(self) -> None:
        self.missing: dict[str, str] = {}  # what -> why
        self._files: dict[str, bytes] = {}

    def document(self, name: str, found: Callable[[], Any]) -> None:
        """Adds what `found` finds, or that it cannot be had."""
        try:
            value = found()
        except (Refused, OSError, ValueError) as error:
            self.missing[name] = redact_text(str(error))
            return
        self._files[f"{name}.json"] = (json.dumps(redact(value), indent=2, default=str) + "\n").encode()

    def text(self, name: str, content: str) -> None:
        self._files[name] = redact_text(content).encode()

    def packed(self, now: datetime) -> bytes:
        """As .tar.gz."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for name, content in sorted(self._files.items()):
                entry = tarfile.TarInfo(f"{_FOLDER}/{name}")
                entry.size, entry.mode, entry.mtime = len(content), 0o600, int(now.timestamp())
                archive.addfile(entry, io.BytesIO(content))
        return packed.getvalue()


def _about(whom: Whom, now: datetime) -> Mapping[str, Any]:
    where = "a cluster" if whom.directory is None else "a directory"
    return {"made": now.isoformat(), "of": where, "system": platform.platform(), "client": versions()}


def _objects(report: _Report, whom: Whom) -> list[str]:
    """Their names alone."""
    if whom.directory is None:
        items, forbidden = objects_of_cluster(whom.cluster, whole=False)
        report.missing |= {f"objects: {plural}": "you may not read them" for plural in forbidden}
    else:
        items = ask(whom, "/objects")["items"]
    metas = ((item["kind"], item["metadata"]) for item in items)
    return sorted(f"{kind} {meta.get('namespace', '')}/{meta['name']}" for kind, meta in metas)


def _proxies(report: _Report, whom: Whom, most: int) -> None:
    try:
        connected = [Proxy(one["id"], one["name"], one.get("replica", "")) for one in ask(whom, "/proxies")]
    except Refused:
        return  # which is said already
    for proxy in connected[:most]:
        for part, target in (("config", "/config"), ("secrets", "/secrets")):
            report.document(f"proxies/{_file_name(proxy.name)}/{part}", partial(ask_about, whom, proxy, target))
    if len(connected) > most:
        report.missing["proxies"] = f"{len(connected) - most} of {len(connected)} are left out (--proxies)"


def _file_name(text: str) -> str:
    """Nothing that leads elsewhere when it is unpacked."""
    return "".join(one if one in _ALLOWED else "_" for one in text).lstrip(".") or "_"


# Logs


def _logs(report: _Report, whom: Whom) -> None:
    if (directory := whom.directory) is not None:
        for path in _log_files(directory):
            report.text(f"logs/{_file_name(path.name)}", _end_of(path))
        return
    report.document("pods", lambda: _of_pods(report, whom))


def _log_files(directory: Path) -> list[Path]:
    """Of the mesh that runs there, or of the last one that did."""
    there = (directory.resolve(), *directory.resolve().parents)
    facts = running(directory)
    homes = [one / STATE / "logs" for one in there if (one / STATE / "logs").is_dir()]
    return sorted(homes[0].glob("*.log")) if homes and (facts is not None or homes[0].parents[1] == there[0]) else []


def _end_of(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(0, io.SEEK_END)
        file.seek(max(0, file.tell() - _LONGEST_LOG))
        return file.read().decode(errors="replace")


def _of_pods(report: _Report, whom: Whom) -> dict[str, Any]:
    """How the control plane's Pods are. What they said, and said before they were started anew, are files of theirs."""

    async def read(api: Api) -> dict[str, Any]:
        base = f"/api/v1/namespaces/{quote(whom.namespace, safe='')}/pods"
        pods = await api.list(base, f"app={APP}")
        asked = {
            f"{pod['metadata']['name']}{suffix}": f"{base}/{quote(pod['metadata']['name'])}/log"
            f"?container=lateend&tailLines={_LOG_LINES}&limitBytes={_LONGEST_LOG}{more}"
            for pod in pods
            for suffix, more in (("", ""), (".previous", "&previous=true"))
        }
        for name, path in asked.items():
            await _log(report, api, name, path)
        return {pod["metadata"]["name"]: pod.get("status", {}) for pod in pods}

    return ask_cluster(whom.cluster, read)


async def _log(report: _Report, api: Api, name: str, path: str) -> None:
    try:
        if text := await api.text(path):
            report.text(f"logs/{_file_name(name)}.log", text)
    except (RefusedError, UnreachableError) as error:
        report.missing[f"logs/{name}"] = redact_text(str(error))
