"""What fails says what, and with which words; what takes long says how far it is."""

import os
import sys
from pathlib import Path

import pytest

from tools import progress


def test_a_command_that_fails_is_quoted_with_its_last_words() -> None:
    script = "import sys; print('\\n'.join(f'line {n}' for n in range(50)), file=sys.stderr); sys.exit(3)"
    with pytest.raises(progress.FailedStep) as caught:
        progress.run([sys.executable, "-c", script], "making tea")
    assert "making tea failed" in str(caught.value)
    assert "line 49" in str(caught.value)
    assert "line 1\n" not in str(caught.value)


def test_a_command_that_is_not_there_is_named() -> None:
    with pytest.raises(progress.FailedStep, match=r"making tea.*no-such-kettle"):
        progress.run(["no-such-kettle"], "making tea")


def test_what_takes_long_tells_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    script = "import sys; print('a', 'b', sep='\\n', file=sys.stderr)"
    progress.run_long(
        [sys.executable, "-c", script], "tea", cwd=tmp_path, environment=os.environ, counted=lambda n: f"{n} of 2 cups"
    )
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0].strip() for line in lines[:2]] == ["tea: 1 of 2 cups", "tea: 2 of 2 cups"]
    assert lines[2].startswith("  tea: ")


@pytest.mark.parametrize(
    ("taken", "shown"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (60.4, "1 min 0 s"), (433.0, "7 min 13 s")]
)
def test_times_are_read_by_people(taken: float, shown: str) -> None:
    assert progress.seconds(taken) == shown
