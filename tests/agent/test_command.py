"""`lateen agent`: reached without what only people need, and known to help, completion and the reference all the same."""

import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.agent.flags import FLAGS
from controlplane.cli.reference import reference

SCRIPT = Path(sys.executable).with_name("lateen")


def lateen(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [SCRIPT, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={"COLUMNS": "200", **environment},
        check=False,
    )


def test_help_tells_of_every_flag():
    for told in (lateen("agent", "--help"), lateen("agent", "sidecar", "-h")):
        assert told.returncode == 0
        assert "renews it at half its life" in " ".join(told.stdout.split())
        assert [flag.option for flag in FLAGS if flag.option not in told.stdout] == []
    own = subprocess.run([sys.executable, "-m", "controlplane.agent", "-h"], capture_output=True, text=True, check=True)
    assert [flag.option for flag in FLAGS if flag.option not in own.stdout] == []


def test_the_list_of_commands_has_it_and_so_has_the_reference():
    assert any(line.split()[:1] == ["agent"] for line in lateen("--help").stdout.splitlines())
    page = reference()
    assert "## lateen agent" in page
    assert [flag.option for flag in FLAGS if f"`{flag.option}`" not in page] == []


@pytest.mark.parametrize(
    ("words", "offered"),
    [("lateen ag", {"agent"}), ("lateen agent --drain", {"--drain-time", "--drain-until-idle"}), ("lateen agent ", {"sidecar", "router"})],
)  # fmt: skip
def test_completion(words, offered):
    count = str(len(words.split(" ")) - 1)
    found = lateen(_LATEEN_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=count)
    assert set(found.stdout.split()) == offered


@pytest.mark.parametrize("before", [(), ("--traceback",)], ids=["as the agent", "by way of the other commands"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sidecar",), "lateen: agent: --pod-name (POD_NAME): is not said\n"),
        (("waypoint",), "lateen: agent: waypoint is neither sidecar nor router\n"),
    ],
)
def test_a_mistake_is_one_line_whichever_way_it_came(before, arguments, said):
    found = lateen(*before, "agent", *arguments)
    assert (found.returncode, found.stdout, found.stderr) == (2, "", said)


def test_a_flag_that_is_none():
    found = lateen("agent", "sidecar", "--no-such-flag")
    assert found.returncode == 2
    assert found.stderr == "lateen: agent: unrecognized arguments: --no-such-flag (lateen agent --help)\n"
