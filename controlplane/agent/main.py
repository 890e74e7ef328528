"""The command: flags and environment in, an exit code out. Imports what the agent needs and nothing else."""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import random  # noqa: TID251  (handed on from here: everything else is given it)
from typing import Final, NoReturn

from controlplane.agent import files, flags
from controlplane.agent.envoy import NoEnvoy
from controlplane.agent.life import Agent
from controlplane.agent.logs import Log, take_over_libraries
from controlplane.agent.misuse import Misuse
from controlplane.agent.settings import Settings, read_settings
from controlplane.agent.words import Words
from controlplane.runtime.clock import SystemClock

MISUSED: Final = 2
BUG: Final = 70
_LARGEST: Final = 1_048_576  # bytes of a file that a flag names


def main(arguments: Sequence[str]) -> int:
    """`lateen agent`, with what stands behind it."""
    given = vars(_parser().parse_args(arguments))
    role = given.pop("role")
    return run(role, {flag.name: given[flag.key] for flag in flags.FLAGS if given[flag.key] is not None})


def run(role: str, given: Mapping[str, str]) -> int:
    """With the flags that were used, by name. The exit code."""
    if role not in flags.ROLES:
        return _refuse(f"{role} is neither {' nor '.join(flags.ROLES)}")
    try:
        settings = read_settings(role, Words(given, os.environ, _read))
        return asyncio.run(_run(settings))
    except (Misuse, NoEnvoy) as error:
        return _refuse(str(error))
    except OSError as error:  # a port that is taken, a directory that is not ours
        return _refuse(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error))
    except Exception:  # noqa: BLE001  (the boundary: a bug of ours ends the process, with everything about it)
        sys.excepthook(*sys.exc_info())
        return BUG


async def _run(settings: Settings) -> int:
    clock = SystemClock()
    log = Log(clock)
    take_over_libraries(log)
    settings.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chdir(settings.directory)  # sockets have names of at most 107 bytes, and Envoy's bootstrap relative ones
    return await Agent(settings, log, clock, random).run()


def _read(path: Path) -> str:
    return files.read_bounded(path, _LARGEST).decode()


def _refuse(message: str) -> int:
    sys.stderr.write(f"lateen: agent: {' '.join(message.split())}\n")
    return MISUSED


class _Parser(argparse.ArgumentParser):
    """What is wrong is one line, as with every command of ours."""

    def error(self, message: str) -> NoReturn:
        sys.exit(_refuse(f"{message} (lateen agent --help)"))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="lateen agent",
        description=flags.DESCRIPTION,
        epilog="examples:\n" + "\n".join(f"  {line}" for line in flags.EXAMPLES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("role", metavar="|".join(flags.ROLES), help=flags.ROLE_HELP)
    for flag in flags.FLAGS:
        names = (flag.short, flag.option) if flag.short else (flag.option,)
        parser.add_argument(*names, dest=flag.key, metavar=flag.metavar, help=flag.told.replace("%", "%%"))
    return parser
