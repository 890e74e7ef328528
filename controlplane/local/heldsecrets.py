"""The secrets that an Envoy has, as its admin socket tells: certificates and roots, and what it still waits for.

Envoy itself writes "[redacted]" where a key would be; here nothing but chains and roots is taken out of its answer.
"""

import asyncio
import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from controlplane.runtime import unixhttp

_ACTIVE: Final = "dynamic_active_secrets"
_WARMING: Final = "dynamic_warming_secrets"
_STATIC: Final = "static_secrets"
_CLUSTERS: Final = "static_clusters"
_TIME: Final = 2.0  # seconds
_LARGEST_FILE: Final = 4 * 1024 * 1024  # bytes of a machine's bundle


class HeldSecret(msgspec.Struct, frozen=True):
    """One that Envoy uses."""

    pem: bytes
    is_roots: bool
    of_bootstrap: bool = False


class HeldSecrets(msgspec.Struct, frozen=True):
    """All of one Envoy."""

    active: Mapping[str, HeldSecret] = {}
    warming: frozenset[str] = frozenset()
    clusters: tuple[Mapping[str, Any], ...] = ()  # of its bootstrap: they use secrets, too


async def held_secrets(admin: Path) -> HeldSecrets:
    """Asks an Envoy of this machine. Raises OSError when it does not answer."""
    dumps = await asyncio.gather(*(_configs(admin, kind) for kind in (_ACTIVE, _WARMING, _STATIC, _CLUSTERS)))
    return await asyncio.to_thread(parse_secrets, *dumps)


async def _configs(admin: Path, resource: str) -> list[Mapping[str, Any]]:
    status, body = await unixhttp.request(admin, f"/config_dump?resource={resource}", timeout=_TIME)
    if status != 200:
        raise ConnectionError(f"Envoy answers {status} when asked for {resource}")
    try:
        found: list[Mapping[str, Any]] = json.loads(body).get("configs", [])
    except ValueError as error:
        raise ConnectionError(f"Envoy's answer for {resource} is no JSON") from error
    return found


def parse_secrets(
    active: list[Mapping[str, Any]],
    warming: list[Mapping[str, Any]],
    static: list[Mapping[str, Any]],
    clusters: list[Mapping[str, Any]],
) -> HeldSecrets:
    """From the admin's `/config_dump?resource=…` of each kind."""
    return HeldSecrets(
        {name: one for entries in (static, active) for name, one in _held(entries, of_bootstrap=entries is static)},
        frozenset(entry["name"] for entry in warming),
        tuple(entry["cluster"] for entry in clusters if "cluster" in entry),
    )


def _held(entries: list[Mapping[str, Any]], *, of_bootstrap: bool) -> Iterator[tuple[str, HeldSecret]]:
    for entry in entries:
        secret = entry.get("secret", {})
        chain = secret.get("tls_certificate", {}).get("certificate_chain")
        source = chain or secret.get("validation_context", {}).get("trusted_ca")
        if source:
            yield entry["name"], HeldSecret(_pem(source, of_bootstrap=of_bootstrap), not chain, of_bootstrap)


def _pem(source: Mapping[str, str], *, of_bootstrap: bool) -> bytes:
    """What came from files Envoy shows inline, but for its bootstrap's, whose paths are our own words."""
    if "inline_bytes" in source:
        return base64.b64decode(source["inline_bytes"])
    if "filename" in source and of_bootstrap:
        return file_content(Path(source["filename"]))
    return source.get("inline_string", "").encode()


def file_content(path: Path) -> bytes:
    """The beginning of a file; b"" when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_FILE)
    except OSError:
        return b""
