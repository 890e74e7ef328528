"""Files read once: for commands that look at manifests and do not stay."""

from collections.abc import Mapping
from typing import Any

from controlplane.model.problem import ObjectRef, Problem
from controlplane.sources.files.folder import Folder, unreadable
from controlplane.sources.files.parser import Broken, Place, parse
from controlplane.sources.files.scanning import Roots, look, read_file, reason
from controlplane.sources.source import Batch, Decode, Object, worth_saying


def read_once(roots: Roots, decode: Decode, texts: Mapping[str, str] | None = None) -> Batch:
    """Everything below `roots`, and `texts` (by the name problems give them) that come from elsewhere."""
    folder = Folder()
    seen = look(roots)
    for path in seen.files:
        try:
            folder.put(path, parse(read_file(path), path))
        except (OSError, ValueError) as error:
            folder.put(path, unreadable(Broken(Place(path), f"cannot be read: {reason(error)}")))
    for path in seen.missing:
        folder.put(path, unreadable(Broken(Place(path), "is not there, or cannot be listed")))
    for name, text in (texts or {}).items():
        folder.put(name, parse(text, name))
    return _decoded(folder, decode)


def _decoded(folder: Folder, decode: Decode) -> Batch:
    values: dict[ObjectRef, Object | None] = {}
    manifests: dict[ObjectRef, Mapping[str, Any] | None] = {}
    problems: list[Problem] = list(folder.problems())
    for document in folder.documents():
        decoded = decode(document.manifest)
        manifests[document.ref] = document.manifest
        problems += worth_saying(decoded.problems)
        if decoded.value is not None:
            values[document.ref] = decoded.value
    return Batch(values, tuple(problems), manifests)
