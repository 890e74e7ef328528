"""The image that our writer makes and the one that `Containerfile` describes are the same image."""

import shlex
import tomllib
from pathlib import Path

from tools.images import base, lateen

_CHECKOUT = Path(lateen.__file__).parents[2]


def _instructions() -> list[tuple[str, str]]:
    """Of the last stage: the word, and the rest on one line."""
    text = (_CHECKOUT / "Containerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    last = max(number for number, line in enumerate(lines) if line.startswith("FROM "))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines[last:])]


def _pairs(word: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for name, rest in _instructions() if name == word for pair in shlex.split(rest))


def test_who_runs_what_with_which_surroundings() -> None:
    told = dict(_instructions())
    assert told["USER"] == lateen.USER
    assert told["ENTRYPOINT"] == '["lateen"]' == str(list(lateen.ENTRYPOINT)).replace("'", '"')
    assert _pairs("ENV") == lateen.ENVIRONMENT
    assert _pairs("LABEL") == lateen.LABELS


def test_it_stands_on_the_same_packages() -> None:
    installs = [rest for word, rest in _instructions() if word == "RUN" and "apt-get install" in rest]
    words = installs[0].split("apt-get install", 1)[1].split("&&")[0].split()
    assert tuple(word for word in words if not word.startswith("--")) == base.PACKAGES


def test_what_is_sent_to_the_engine_is_enough_for_the_wheel() -> None:
    sent = {line.removeprefix("!") for line in (_CHECKOUT / ".containerignore").read_text().split() if line != "*"}
    assert sent == {line.removeprefix("!") for line in (_CHECKOUT / ".dockerignore").read_text().split() if line != "*"}
    settings = tomllib.loads((_CHECKOUT / "pyproject.toml").read_text())
    wheel = settings["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = [settings["project"]["readme"], *settings["project"]["license-files"], *wheel["packages"]]
    needed += [path.partition("/")[0] for path in wheel["force-include"]]
    assert {*needed, "pyproject.toml", lateen.LOCK.partition("/")[0]} == sent


def test_every_dependency_of_the_image_is_locked_as_in_development() -> None:
    """What was tested is what runs."""

    def pinned(name: str) -> set[str]:
        return {line.split()[0] for line in (_CHECKOUT / name).read_text().splitlines() if line[:1].isalnum()}

    assert pinned(lateen.LOCK) - pinned("requirements/dev.txt") == set()
    wanted = tomllib.loads((_CHECKOUT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {pin.partition("==")[0] for pin in pinned(lateen.LOCK)}
    assert {one.partition(">")[0].partition("=")[0] for one in wanted} - names == set()
