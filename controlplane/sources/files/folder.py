"""What many files say together.

One object may stand in two files; a file may be saved half-written; both must have one answer that does not depend on
the order of events. Everything is kept per file and per object, so that a saved file costs what it holds.
"""

from collections.abc import Iterator

from controlplane.model.problem import Level, ObjectRef, Origin, Problem
from controlplane.sources.files.parser import Broken, Document, Parsed


class Folder:
    """The parsed files, and who of them speaks for each object: the first in order of path and line."""

    def __init__(self) -> None:
        self._files: dict[str, Parsed] = {}
        self._claims: dict[ObjectRef, list[Document]] = {}
        self._contested: set[ObjectRef] = set()

    def paths(self) -> frozenset[str]:
        """Files that are known, readable or not."""
        return frozenset(self._files)

    def holds_objects(self, path: str) -> bool:
        """Whether removing this file would remove objects."""
        return path in self._files and bool(self._files[path].documents)

    def put(self, path: str, parsed: Parsed) -> frozenset[ObjectRef]:
        """A file was read. Which objects may have another answer now.

        While any part of a file is broken nothing it held before is removed: nobody can tell whether it is gone or
        only unreadable.
        """
        before = self._files.get(path, Parsed())
        if parsed.broken:
            parsed = Parsed((*parsed.documents, *_kept(before, parsed)), parsed.broken)
        self._files[path] = parsed
        now: dict[ObjectRef, list[Document]] = {ref: [] for ref in _refs(before)}
        for document in parsed.documents:
            now.setdefault(document.ref, []).append(document)
        for ref, documents in now.items():
            self._claim(path, ref, documents)
        return frozenset(now)

    def drop(self, path: str) -> frozenset[ObjectRef]:
        """A file is gone. Which objects may have another answer now."""
        touched = self.put(path, Parsed())
        del self._files[path]
        return touched

    def document(self, ref: ObjectRef) -> Document | None:
        """The document that speaks for this object."""
        claims = self._claims.get(ref)
        return claims[0] if claims else None

    def documents(self) -> Iterator[Document]:
        """The document that speaks for each object, in order of name."""
        return (self._claims[ref][0] for ref in sorted(self._claims))

    def problems(self) -> Iterator[Problem]:
        """Broken files and contested objects, in a fixed order."""
        for broken in sorted(broken for parsed in self._files.values() for broken in parsed.broken):
            yield broken.problem()
        for ref in sorted(self._contested):
            yield _duplicate(self._claims[ref])

    def _claim(self, path: str, ref: ObjectRef, documents: list[Document]) -> None:
        others = [claim for claim in self._claims.get(ref, ()) if claim.place.path != path]
        claims = sorted([*others, *documents], key=lambda document: document.place)
        self._contested.discard(ref)
        if len(claims) > 1:
            self._contested.add(ref)
        if claims:
            self._claims[ref] = claims
        else:
            self._claims.pop(ref, None)


def unreadable(broken: Broken) -> Parsed:
    """A file that could not even be opened."""
    return Parsed(broken=(broken,))


def _refs(parsed: Parsed) -> frozenset[ObjectRef]:
    return frozenset(document.ref for document in parsed.documents)


def _kept(before: Parsed, now: Parsed) -> Iterator[Document]:
    readable = _refs(now)
    return (document for document in before.documents if document.ref not in readable)


def _duplicate(claims: list[Document]) -> Problem:
    used, *unused = claims
    places = ", ".join(str(document.place) for document in unused)
    message = f"defined more than once: {used.place} is used, {places} is not"
    return Problem("DuplicateObject", Level.ERROR, Origin(used.ref), message)
