"""`lateen demo`: the story of a canary, with real calls."""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import structlog
import typer
from rich.console import Console
from rich.table import Table

from controlplane.app.laptop import open_laptop
from controlplane.cli.refusal import Refused
from controlplane.local.calls import Tally
from controlplane.local.demo import CALLER, RULES, STORY, URL, Result, Teller, lay_out
from controlplane.local.lateenfile import LateenFile
from controlplane.local.show import shown, table
from controlplane.local.statedir import Misuse, StateDirectory, state_directory
from controlplane.local.up import Request, Running, check, first_of, running, stop_signals
from controlplane.runtime.logs import set_up_logs
from controlplane.runtime.tasks import CriticalTaskEnded


def demo(*, keep: bool) -> None:
    """Tell it; exit 0 if all went as it should."""
    base = Path(tempfile.mkdtemp(prefix="lateen-demo-"))
    try:
        directory = lay_out(base)
        request = Request((directory,))
        with state_directory(request.paths, "demo") as state, state.own_log.open("a") as log_file:
            set_up_logs("info", log_file)
            right = asyncio.run(_run(request, check(request), state, keep=keep))
    except Misuse as wrong:
        raise Refused(str(wrong)) from wrong
    except (CriticalTaskEnded, TimeoutError) as ended:
        raise Refused(f"the demo broke off: {str(ended) or 'something took too long'}", code=1) from ended
    finally:
        structlog.reset_defaults()
        shutil.rmtree(base, ignore_errors=True)
    raise typer.Exit(0 if right else 1)


async def _run(request: Request, file: LateenFile, state: StateDirectory, *, keep: bool) -> bool:
    console = Console(highlight=False)
    console.print("A service, [bold]bill-service[/], in two versions; a client, [bold]front-tomcat[/]; real Envoys.")
    async with stop_signals() as stop, running(request, file, state, open_laptop) as now:
        teller = Teller(now, request.paths[0])
        story = asyncio.ensure_future(teller.tell(STORY, lambda result: console.print(_line(result))))
        stopping = asyncio.ensure_future(first_of(stop, now.tasks))
        try:
            await asyncio.wait([story, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not story.done():
                await stopping
                raise typer.Abort  # somebody has seen enough
            results = await story
            right = _verdict(console, results, teller.background)
            if keep:
                _explain(console, request.paths[0], now)
                await stopping
        finally:
            story.cancel()
            stopping.cancel()
            await asyncio.gather(story, stopping, return_exceptions=True)
    return right


def _line(result: Result) -> str:
    mark = "[green]as it should be[/]" if result.is_right else "[red]not as it should be[/]"
    return f"  {result.step.title}: {result.step.calls} calls, {mark}"


def _verdict(console: Console, results: Sequence[Result], background: Tally) -> bool:
    made = Table("step", "calls", "expected v1 / v2", "measured v1 / v2", "failed", "", box=None, pad_edge=False)
    for result in results:
        copies = f", {result.copies} copies to v2" if result.step.mirrored else ""
        made.add_row(
            result.step.title,
            str(result.step.calls),
            _split(result.step.v1 * 100, 100 - result.step.v1 * 100),
            _split(100 * result.v1 / result.step.calls, 100 * result.v2 / result.step.calls) + copies,
            str(result.failed),
            "[green]yes[/]" if result.is_right else "[red]NO[/]",
        )
    console.print()
    console.print(made)
    console.print(
        f"\n{background.calls} more calls went on while the rules changed; {background.failed} of them failed."
    )
    right = all(result.is_right for result in results) and background.failed == 0
    if right:
        console.print("[bold green]All went as it should: every weighted split within 4 sigma, no call failed.[/]")
    else:
        console.print("[bold red]Not all went as it should.[/]")
    return right


def _split(v1: float, v2: float) -> str:
    return f"{v1:.1f} % / {v2:.1f} %"


def _typed() -> str:
    """How this program is called again: in a checkout it is in no PATH."""
    own = Path(sys.argv[0])
    return "lateen" if own.name != "lateen" or shutil.which("lateen") else str(own)


def _explain(console: Console, directory: Path, now: Running) -> None:
    """How to go on playing."""
    caller = next(one.replica for one in now.mesh.replicas() if one.replica.workload.name == CALLER)
    console.print()
    console.print(table(shown(now.mesh)))
    console.print("\nIt goes on running. Call, change the rules, look inside; Ctrl-C ends it all:")
    lateen = _typed()
    for line in (
        f"curl -x http://{caller.address}:{caller.http_proxy_port} {URL}",
        f"cp {directory}/rules/1-ninety-ten.yaml {directory}/{RULES}",
        f"{lateen} proxy-status -d {directory}",
        f"{lateen} proxy-config routes {CALLER} -d {directory}",
    ):
        console.print(f"  {line}", soft_wrap=True)
