"""Golden folders: list, compare, write, prune."""

from collections.abc import Callable, Mapping
from pathlib import Path
from shutil import rmtree

INPUT = "in.yaml"
ROOT = Path(__file__).parent

Outputs = Mapping[str, str]  # file name -> text


def cases(room: str) -> list[Path]:
    """The folders of one room that have an input, by name."""
    return sorted(path.parent for path in (ROOT / room).glob(f"*/{INPUT}"))


def found(case: Path) -> dict[str, str]:
    """The outputs that lie beside the input."""
    return {path.name: path.read_text() for path in sorted(case.iterdir()) if path.name != INPUT}


def write(case: Path, outputs: Outputs) -> list[str]:
    """Makes the folder hold exactly these outputs; what it changed."""
    before = found(case)
    for name in before.keys() - outputs.keys():
        (case / name).unlink()
    changed = [name for name, text in outputs.items() if before.get(name) != text]
    for name in changed:
        (case / name).write_text(outputs[name])
    return sorted([*changed, *(before.keys() - outputs.keys())])


def write_room(room: str, make: Callable[[Path], Outputs]) -> list[str]:
    """Writes all cases of a room and removes folders that have no input; what it changed, relative to the room."""
    changed = [f"{case.name}/{name}" for case in cases(room) for name in write(case, make(case))]
    for folder in (ROOT / room).iterdir():
        if folder.is_dir() and not (folder / INPUT).exists():
            rmtree(folder)
            changed.append(folder.name)
    return changed
