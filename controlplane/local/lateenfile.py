"""`Lateenfile`: which local command stands for which Deployment.

    commands:
      bill-service-v1: "{python} server.py --text 'this is bill-service-v1'"
      istio-demo/front-tomcat:
        run: [sleep, infinity]
        directory: client          # relative to this file; the file's own directory if not said
        env: {LEVEL: debug}
    gatewayNamespace: istio-system # where gateways live that no Deployment in the manifests brings along
    meshConfig: {accessLogFile: /dev/stdout}

Everything in it is optional. `{host}`, `{port}`, `{port_<name>}` and `{python}` in a command are filled in.
"""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from controlplane.local.words import in_words, joined
from controlplane.sources.files.parser import Place
from controlplane.sources.files.reading import Unreadable, line_of, read
from controlplane.sources.files.scanning import read_text

NAME: Final = "Lateenfile"  # not .yaml: `kubectl apply -f DIR` would take it for a manifest
DEFAULT_GATEWAY_NAMESPACE: Final = "istio-system"


class CommandSpec(msgspec.Struct, frozen=True):
    """What to run for one Deployment."""

    argv: tuple[str, ...]
    directory: Path
    env: Mapping[str, str] = {}


class LateenFile(msgspec.Struct, frozen=True):
    """All `Lateenfile` files together."""

    commands: Mapping[str, CommandSpec] = {}  # "name" or "namespace/name"
    gateway_namespace: str = DEFAULT_GATEWAY_NAMESPACE
    mesh_config: Mapping[str, Any] = {}
    problems: tuple[str, ...] = ()  # "dir/Lateenfile:3:1: …"

    def command(self, namespace: str, name: str) -> CommandSpec | None:
        """The command of a workload; the longer name wins."""
        return self.commands.get(f"{namespace}/{name}") or self.commands.get(name)


class _Command(msgspec.Struct, forbid_unknown_fields=True):
    run: str | tuple[str, ...]
    directory: str = "."
    env: dict[str, str] = {}


class _File(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    commands: dict[str, Any] = {}  # one by one, so that a wrong one is named
    gateway_namespace: str = DEFAULT_GATEWAY_NAMESPACE
    mesh_config: dict[str, Any] = {}


def load(paths: Iterable[Path]) -> LateenFile:
    """The `Lateenfile` files there are; a later one adds to and overrides an earlier one."""
    together = LateenFile()
    for path in paths:
        if path.is_file():
            together = _joined(together, _load_one(path))
    return together


def parse(text: str, path: Path) -> LateenFile:
    """One file. Commands run where the file stands unless they say otherwise."""
    try:
        readings = read(text)
        raw = readings[0].value if readings else {}
        file = msgspec.convert(raw or {}, _File)
    except Unreadable as wrong:
        return LateenFile(problems=(f"{Place(str(path), wrong.line, wrong.column)}: {wrong.message}",))
    except msgspec.ValidationError as wrong:
        return LateenFile(problems=(_told(wrong, text, path),))
    commands: dict[str, CommandSpec] = {}
    problems: list[str] = []
    for name, command in file.commands.items():
        try:
            commands[name] = _spec(command, path.parent)
        except (msgspec.ValidationError, ValueError) as wrong:
            problems.append(_told(wrong, text, path, "commands", name))
    return LateenFile(commands, file.gateway_namespace, file.mesh_config, tuple(problems))


def _told(wrong: Exception, text: str, path: Path, *above: str) -> str:
    """ "dir/Lateenfile:3: commands.a: what is wrong"."""
    words, keys = in_words(wrong)
    keys = [*above, *keys]
    unknown = words.partition("unknown field `")[2].rstrip("`")
    place = Place(str(path), line_of(text, *keys, *([unknown] if unknown else [])))
    return f"{place}: {joined(keys)}: {words}" if keys else f"{place}: {words}"


def _load_one(path: Path) -> LateenFile:
    try:
        return parse(read_text(str(path)), path)
    except (OSError, ValueError) as error:
        return LateenFile(problems=(f"{path}: cannot be read: {error}",))


def _joined(first: LateenFile, second: LateenFile) -> LateenFile:
    namespace = second.gateway_namespace
    return LateenFile(
        {**first.commands, **second.commands},
        namespace if namespace != DEFAULT_GATEWAY_NAMESPACE else first.gateway_namespace,
        {**first.mesh_config, **second.mesh_config},
        first.problems + second.problems,
    )


def _spec(raw: Any, directory: Path) -> CommandSpec:
    """Raises ValueError."""
    command = msgspec.convert(raw, _Command | str | tuple[str, ...])
    full = command if isinstance(command, _Command) else _Command(run=command)
    try:
        argv = tuple(shlex.split(full.run) if isinstance(full.run, str) else full.run)
    except ValueError as error:  # a quote that is never closed
        raise ValueError(str(error).lower()) from error
    if not argv:
        raise ValueError("a command is empty")
    return CommandSpec(argv, (directory / full.directory).resolve(), full.env)
