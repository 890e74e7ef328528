"""The kernel's rules, read and written through `iptables-save` and `iptables-restore`.

There are two implementations, which do not see each other's rules: the older one, and one on nftables. A kernel may
have either, or both. What is set is set at once or not at all: one restore is one transaction.
"""

import os
import subprocess
from collections.abc import Sequence
from shutil import which
from typing import Final

import msgspec

from controlplane.agent.capture.rules import CHAINS, PREFIX, TABLE, Family

KINDS: Final = ("nft", "legacy")
_PROGRAMS: Final = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}
_PATIENCE: Final = 30.0  # seconds for one of these programs
_LOCK: Final = "/dev/shm/xtables.lock"  # noqa: S108  (the older one wants a file to lock; the root file system is read-only)


class Failed(Exception):  # noqa: N818  (what the kernel said, not an error of ours)
    """A program was not there, or did not do it."""


class Backend(msgspec.Struct, frozen=True):
    """One implementation, for one family."""

    kind: str  # of KINDS; "": the one that is called without a suffix
    family: Family

    def __str__(self) -> str:
        return f"{self._program('')} (IPv{int(self.family)})"

    @property
    def exists(self) -> bool:
        return all(which(self._program(what)) for what in ("save", "restore"))

    def read(self) -> tuple[str, ...]:
        """The rules of our table. Raises Failed."""
        said = _run([self._program("save"), "-t", TABLE], "")
        return tuple(line.strip() for line in said.splitlines())

    def write(self, lines: Sequence[str]) -> None:
        """One transaction, beside what is there. Raises Failed."""
        text = "\n".join((f"*{TABLE}", *lines, "COMMIT", ""))
        waiting = ["--wait", "20"] if self.kind == "legacy" else []
        _run([self._program("restore"), "--noflush", *waiting], text)

    def _program(self, what: str) -> str:
        return "-".join(part for part in (_PROGRAMS[self.family], self.kind, what) if part)


def backends(family: Family, kind: str = "") -> list[Backend]:
    """Those that are installed, the newer first; only those of `kind`, if one is said."""
    kinds = (kind,) if kind else KINDS
    found = [backend for one in kinds if (backend := Backend(one, family)).exists]
    plain = Backend("", family)
    return found or ([plain] if plain.exists and not kind else [])


def ours(lines: Sequence[str]) -> tuple[str, ...]:
    """Of the rules that are there, those in our chains and those that lead to them."""
    return tuple(line for line in lines if line.startswith(f"-A {PREFIX}") or is_jump(line))


def is_jump(line: str) -> bool:
    """Whether a rule of somebody else's chain leads into one of ours."""
    return line.startswith("-A ") and not line.startswith(f"-A {PREFIX}") and f" -j {PREFIX}" in line


def setting(there: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """What is to be restored so that our rules are these: jumps that are there go first, and chains are emptied."""
    chains = dict.fromkeys((*_chains(there), *CHAINS))
    declared = [f":{chain} - [0:0]" for chain in chains]
    gone = [_deleted(line) for line in there if is_jump(line)]
    unused = [f"-X {chain}" for chain in chains if chain not in CHAINS]
    return [*declared, *gone, *unused, *wanted]


def removing(there: Sequence[str]) -> list[str]:
    """What is to be restored so that nothing of ours is left; [] when nothing is there."""
    chains = _chains(there)
    gone = [_deleted(line) for line in there if is_jump(line)]
    return [*(f":{chain} - [0:0]" for chain in chains), *gone, *(f"-X {chain}" for chain in chains)]


def _chains(lines: Sequence[str]) -> list[str]:
    return [line[1:].split()[0] for line in lines if line.startswith(f":{PREFIX}")]


def _deleted(line: str) -> str:
    return f"-D {line.removeprefix('-A ')}"


def _run(command: Sequence[str], text: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603  (one of four programs, and flags of ours)
            command,
            input=text,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
            env={"PATH": os.environ.get("PATH", os.defpath), "XTABLES_LOCKFILE": _LOCK, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{command[0]}: {error}") from error
    if done.returncode:
        raise Failed(f"{command[0]}: {' '.join(done.stderr.split()) or f'exit code {done.returncode}'}")
    return done.stdout
