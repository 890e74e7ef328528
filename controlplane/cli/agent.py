"""`lateen agent` in help, completion and docs/cli.md: made from the agent's own table of flags.

To run it, `cli.entrance` does not come by here.
"""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Final

import typer

from controlplane.agent import flags

HELP: Final = f"{flags.SUMMARY}\n\n{flags.DESCRIPTION}\n\n\b\nExamples:\n" + "\n".join(
    f"  {line}" for line in flags.EXAMPLES
)


def command() -> Callable[..., int]:
    """A function with a parameter for each flag, as typer reads them."""

    def agent(role: str, **given: str | None) -> int:
        from controlplane.agent.main import run  # noqa: PLC0415  (nobody else waits for it)

        return run(role, {flag.name: value for flag in flags.FLAGS if (value := given[flag.key]) is not None})

    agent.__signature__ = inspect.Signature([_role(), *map(_parameter, flags.FLAGS)])  # type: ignore[attr-defined]
    return agent


def _role() -> inspect.Parameter:
    told = typer.Argument(metavar="|".join(flags.ROLES), help=flags.ROLE_HELP, autocompletion=lambda: list(flags.ROLES))
    return _keyword("role", Annotated[str, told])


def _parameter(flag: flags.Flag) -> inspect.Parameter:
    names = (flag.option, flag.short) if flag.short else (flag.option,)
    told = typer.Option(*names, metavar=flag.metavar, help=flag.told)
    return _keyword(flag.key, Annotated[str | None, told], default=None)


def _keyword(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
