"""The Envoys of a cluster, asked by a command in their own Pods: what they really use, beside what they were given.

The control plane cannot ask them. Whoever may run commands in a proxy's Pod can; who may not is told so, and sees what
the control plane knows.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from controlplane.cli.clusters import Target, look_in
from controlplane.install.api import Api, UnreachableError
from controlplane.install.podexec import PodExec
from controlplane.local.certificates import Certificate, certificates
from controlplane.local.heldsecrets import HeldSecret, HeldSecrets, parse_secrets
from controlplane.local.secrets import SecretStatus, ended

_CONTAINER: Final = "istio-proxy"
_KINDS: Final = ("dynamic_active_secrets", "dynamic_warming_secrets")
# What the control plane says of secrets while it cannot ask the Envoy.
_UNASKED: Final = frozenset({SecretStatus.REPORTED, SecretStatus.GIVEN, SecretStatus.UNKNOWN})
Rows = Sequence[Mapping[str, Any]]


def held_by(cluster: Target, proxy: str) -> HeldSecrets:
    """The secrets that an Envoy uses, but for its bootstrap's, whose files are not here. Refuses with one line."""
    pod, _, namespace = proxy.rpartition(".")

    async def asked(_api: Api, pods: PodExec) -> HeldSecrets:
        active, warming = await asyncio.gather(*(_dump(pods, namespace, pod, kind) for kind in _KINDS))
        return parse_secrets(active, warming, [], [])

    return look_in(cluster, asked)


async def _dump(pods: PodExec, namespace: str, pod: str, kind: str) -> list[Mapping[str, Any]]:
    command = ("lateen", "debug", "--envoy", f"/config_dump?resource={kind}")
    done = await pods.run(namespace, pod, _CONTAINER, command)
    if done.code != 0:
        raise UnreachableError(done.errors or f"exit code {done.code}")
    try:
        found: list[Mapping[str, Any]] = json.loads(done.out)["answer"].get("configs", [])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreachableError("its answer is none of an Envoy's") from error
    return found


def completed(rows: Rows, held: HeldSecrets, now: datetime) -> list[Mapping[str, Any]]:
    """Secrets as the control plane tells them, with what the Envoy says of them."""
    return [_completed(row, held, now) if row["status"] in _UNASKED else row for row in rows]


def _completed(row: Mapping[str, Any], held: HeldSecrets, now: datetime) -> Mapping[str, Any]:
    active = held.active.get(row["name"])
    if active is not None:
        return {**row, **_in_use(row, active, now)}
    if row["name"] in held.warming:
        why = "Envoy waits for it; connections that need it fail meanwhile"
        return {
            **row,
            "status": str(SecretStatus.WARMING),
            "why": why,
            "certificates": [],
            "given": row["certificates"],
        }
    if row["status"] == SecretStatus.GIVEN:
        why = "Envoy does not have it"
        return {
            **row,
            "status": str(SecretStatus.MISSING),
            "why": why,
            "certificates": [],
            "given": row["certificates"],
        }
    return row


def _in_use(row: Mapping[str, Any], active: HeldSecret, now: datetime) -> dict[str, Any]:
    found = certificates(active.pem)
    over = ended(found, now, is_roots=active.is_roots)
    used = {"why": over, "certificates": [msgspec.to_builtins(one) for one in found], "given": []}
    if _differs(row["certificates"], found):
        why = f"Envoy uses another one than it was given{f'; {over}' if over else ''}"
        return {**used, "status": str(SecretStatus.STALE), "why": why, "given": row["certificates"]}
    return {**used, "status": str(SecretStatus.EXPIRED if over else SecretStatus.ACTIVE)}


def _differs(given: Rows, used: tuple[Certificate, ...]) -> bool:
    """By digest; a report does not have one of its own certificate: nothing is said of that."""
    digests = {one["sha256"] for one in given}
    return bool(digests) and "" not in digests and digests != {one.sha256 for one in used}
