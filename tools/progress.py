"""Tells a person what is being done, and how long it took: on a terminal and in a log alike, a line each."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

EVERY = 15.0  # seconds between two lines about the same step


class FailedStep(Exception):  # noqa: N818  (what happened, not whose fault)
    """What was to be done could not be; the message says what, why, and the way out."""


def say(text: str) -> None:
    print(text, flush=True)


def note(text: str) -> None:
    """On the way, beside what a command is for."""
    print(text, file=sys.stderr, flush=True)


def seconds(taken: float) -> str:
    """`4.2 s`, or `7 min 12 s`."""
    minutes, rest = divmod(round(taken), 60)
    return f"{minutes} min {rest} s" if taken >= 60 else f"{taken:.1f} s"


@contextmanager
def step(title: str) -> Iterator[None]:
    """A line when it ends well, with the time taken."""
    begun = monotonic()
    yield
    note(f"  {title}: {seconds(monotonic() - begun)}")


def run(
    command: Sequence[str | Path],
    what: str,
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    data: bytes | None = None,
) -> bytes:
    """What the command printed. Raises `FailedStep` with its last lines."""
    try:
        done = subprocess.run(command, cwd=cwd, env=environment, input=data, capture_output=True, check=False)
    except OSError as error:
        raise FailedStep(f"{what}: {error}") from error
    if done.returncode:
        raise FailedStep(f"{what} failed ({_shown(command)}):\n{_last_lines((done.stderr or done.stdout).decode())}")
    return done.stdout


def run_long(
    command: Sequence[str | Path],
    what: str,
    *,
    cwd: Path,
    environment: Mapping[str, str],
    counted: Callable[[int], str],
) -> None:
    """Runs it, telling every now and then how far it is: `counted(lines on its standard error so far)`."""
    begun = told = monotonic()
    lines: list[str] = []
    with subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if monotonic() - told >= EVERY:
                told = monotonic()
                note(f"  {what}: {counted(len(lines))}, {seconds(told - begun)} so far")
    if process.returncode:
        raise FailedStep(f"{what} failed ({_shown(command)}):\n{_last_lines(''.join(lines))}")
    note(f"  {what}: {seconds(monotonic() - begun)}")


def _shown(command: Sequence[str | Path]) -> str:
    return " ".join(str(word) for word in command[:4])


def _last_lines(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-12:])


def complain(error: FailedStep) -> int:
    """Says it on standard error; the exit status."""
    print(error, file=sys.stderr, flush=True)
    return 1
