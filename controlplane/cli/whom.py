"""The options that say which mesh a command asks, the same for all of them."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

Where = Annotated[
    Path | None, typer.Option("--directory", "-d", metavar="DIR", help="the directory whose mesh is asked (default: .)")
]
_OPTIONS: Final[dict[str, Any]] = {
    "directory": Where,
    "kubeconfig": Annotated[
        Path | None,
        typer.Option("--kubeconfig", metavar="FILE", help="ask a cluster's mesh; which one, as for kubectl"),
    ],
    "context": Annotated[
        str | None, typer.Option("--context", metavar="NAME", help="ask a cluster's mesh: of the kubeconfig")
    ],
    "namespace": Annotated[
        str | None,
        typer.Option("--namespace", metavar="NS", help="ask a cluster's mesh: where its control plane runs"),
    ],
}


def asking(load: Callable[[str], Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """For a command with a parameter `whom`: the parser sees the options instead. `load` imports a module of `cli`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def asked(**arguments: Any) -> None:
            said = {name: arguments.pop(name) for name in _OPTIONS}
            command(**arguments, whom=load("asking").Whom(**said))

        written = inspect.signature(command, eval_str=True)
        others = [one for one in written.parameters.values() if one.name != "whom"]
        options = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
            for name, kind in _OPTIONS.items()
        ]
        parameters = sorted([*others, *options], key=lambda one: one.name == "output")  # which comes last in every help
        asked.__name__, asked.__doc__ = command.__name__, command.__doc__
        asked.__annotations__ = {one.name: one.annotation for one in parameters}
        vars(asked)["__signature__"] = written.replace(parameters=parameters)  # what `inspect` reads, and so the parser
        return asked

    return decorate


def said(parameters: dict[str, Any]) -> dict[str, Any]:
    """Of what was typed so far: for completion."""
    return {name: parameters.get(name) for name in _OPTIONS}
