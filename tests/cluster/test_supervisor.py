"""The node's first process, tried as an ordinary one: programs are started, told to stay away, and come back."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

from e2e.cluster import control

# Two programs: one that stays, one that ends at once and needs a file to start.
_NODE = """
import sys
from pathlib import Path
from e2e.cluster.programs import Program
from e2e.cluster.supervisor import Supervisor
folder = Path(sys.argv[1])
programs = {
    "stays": Program(("sleep", "600")),
    "ends": Program(("sh", "-c", "echo ran; exit 3"), needs=folder / "wanted"),
}
Supervisor(programs, folder, folder / "control").run()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(control, "CONTROL", tmp_path / "control")
    with subprocess.Popen([sys.executable, "-c", _NODE, str(tmp_path)]) as process:
        _eventually((tmp_path / "control").exists)
        _eventually(lambda: _answers() and bool(control.states()["stays"].pid))
        yield tmp_path
        for state in control.states().values():
            if state.pid:
                subprocess.run(["kill", str(state.pid)], check=False)
        process.kill()


def _answers() -> bool:
    try:
        return bool(control.states())
    except ConnectionRefusedError:  # bound, and not listening yet
        return False


def _eventually(condition: Callable[[], object]) -> None:
    until = monotonic() + 30
    while not condition():
        assert monotonic() < until
        sleep(0.02)


def test_what_is_killed_is_started_again(folder: Path) -> None:
    before = control.states()["stays"].pid
    control.kill("stays")
    _eventually(lambda: control.states()["stays"].pid not in (0, before))
    assert control.states()["stays"].last_exit == -signal.SIGKILL
    assert (control.states()["stays"].starts, control.states()["stays"].deaths) == (2, 0)


def test_what_is_stopped_stays_away_until_it_is_started(folder: Path) -> None:
    with control.stopped("stays", signal.SIGTERM):
        state = control.states()["stays"]
        assert (state.pid, state.wanted, state.last_exit) == (0, False, -signal.SIGTERM)
    _eventually(lambda: control.states()["stays"].pid)


def test_a_program_waits_for_what_it_needs_and_its_words_are_kept(folder: Path) -> None:
    assert control.states()["ends"].starts == 0
    (folder / "wanted").touch()
    _eventually(lambda: control.states()["ends"].starts >= 2)
    assert control.states()["ends"].last_exit == 3
    assert control.states()["ends"].deaths > 0, "nobody asked it to"
    assert (folder / "ends.log").read_text().startswith("ran\n")


def test_nonsense_is_answered_and_does_no_harm(folder: Path) -> None:
    with pytest.raises(ValueError, match="KeyError"):
        control.start("no such program")
    assert control.states()["stays"].pid
