"""`lateen inject`: what the webhook does to Pods, done to the manifests they are made from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import typer

from controlplane.cli.output import Document
from controlplane.cli.refusal import Refused
from controlplane.cli.settings import read_mapping, read_mesh_config
from controlplane.install import names
from controlplane.install.values import Values
from controlplane.install.webhooks import injection_settings
from controlplane.model.problem import Level, Problem
from controlplane.sources.files.parser import Place
from controlplane.sources.files.reading import Unreadable, read
from controlplane.sources.files.scanning import Roots, look, read_file, read_text
from controlplane.webhooks.injection.render import Left
from controlplane.webhooks.injection.render import Refused as RefusedPod
from controlplane.webhooks.injection.settings import InjectionSettings, decode
from controlplane.webhooks.injection.workloads import Result, inject_document, namespaces_in

_STDIN: Final = "-"


def inject(  # noqa: PLR0913  (the options of one command)
    paths: Sequence[str],
    *,
    recursive: bool,
    namespace: str,
    mesh_config: Path | None,
    config: Path | None,
    said: Mapping[str, Any],
    output: Document,
) -> None:
    """Print the manifests. Nothing is printed when one of them is refused: half of them would be applied otherwise."""
    settings = _settings(config, mesh_config, said)
    documents = [document for path in paths for document in _documents(path, recursive=recursive)]
    if not documents:
        raise Refused("there are no manifests here (subdirectories are read with -R)")
    namespaces = namespaces_in(documents)
    done = [inject_document(settings, document, namespaces, namespace) for document in documents]
    results = [result for _, found in done for result in found]
    for line in _lines(results):
        typer.echo(f"lateen: {line}", err=True)
    if any(isinstance(result.outcome, RefusedPod) for result in results):
        raise typer.Exit(1)
    _print([document for document, _ in done], output)


def _settings(config: Path | None, mesh_config: Path | None, said: Mapping[str, Any]) -> InjectionSettings:
    """Over those of an installation of which nothing was asked."""
    written = {**(read_mapping(config, "injection") if config is not None else {}), **said}
    place = names.Place(
        str(written.get("namespace", names.NAMESPACE)), str(written.get("revision", names.DEFAULT_REVISION))
    )
    try:
        return decode({**injection_settings(Values(), place), **written}, read_mesh_config(mesh_config))
    except ValueError as error:
        raise Refused(f"{config or mesh_config or 'the options'}: {error}") from error


def _documents(path: str, *, recursive: bool) -> list[Any]:
    """What stands in a file, in the files of a directory, or in standard input."""
    if path == _STDIN or (Path(path).exists() and not Path(path).is_dir()):
        return _parsed("<stdin>" if path == _STDIN else path, 0 if path == _STDIN else path)
    if not path or not Path(path).exists():
        raise Refused(f"{path or '-f'}: no such file or directory")
    files = look(Roots((Path(path),), recursive)).files
    return [document for file in files for document in _parsed(file, file)]


def _parsed(name: str, place: str | int) -> list[Any]:
    try:
        text = read_text(place) if isinstance(place, int) or not Path(place).is_file() else read_file(place)
        return [reading.value for reading in read(text)]
    except Unreadable as wrong:
        raise Refused(f"{Place(name, wrong.line, wrong.column)}: {wrong.message}") from wrong
    except OSError as error:
        raise Refused(f"{name}: {error.strerror}") from error
    except ValueError as error:
        raise Refused(f"{name}: {error}") from error


def _lines(results: Sequence[Result]) -> list[str]:
    """What is to be said of them."""
    lines = []
    for ref, outcome, problems in results:
        lines += [_line(problem) for problem in problems]
        if isinstance(outcome, Left):
            lines.append(f"{ref}: not injected: {outcome.skipped.message}")
    if not results:
        lines.append("there are no Pods in these manifests")
    return lines


def _line(problem: Problem) -> str:
    word = "refused" if problem.level is Level.ERROR else str(problem.level)
    return f"{problem.origin.ref}: {word}: {problem.message} [{problem.code}]"


def _print(documents: Sequence[Any], output: Document) -> None:
    """As they came, one after the other: a stream that `kubectl apply -f -` takes."""
    import yaml  # noqa: PLC0415  (loaded when it is used)

    if output == Document.YAML:
        texts = [yaml.safe_dump(one, sort_keys=False, allow_unicode=True, width=4096) for one in documents]
        typer.echo("---\n".join(texts), nl=False)
        return
    whole = documents[0] if len(documents) == 1 else {"apiVersion": "v1", "kind": "List", "items": list(documents)}
    typer.echo(msgspec.json.format(msgspec.json.encode(whole), indent=2).decode())
