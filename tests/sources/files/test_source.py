"""A directory as a source: every way editors, kubelet and people have of changing files, on a real file system."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from controlplane.model.decode import Decoded
from controlplane.model.problem import Level, ObjectRef, Origin, Problem
from controlplane.sources.files.scanning import Roots
from controlplane.sources.files.source import FilesSource
from controlplane.sources.memory import MemorySource
from controlplane.sources.source import Batch


def decode(manifest: Mapping[str, Any]) -> Decoded:
    """Knows Services: the label `v` is the value; the value "bad" cannot be used at all."""
    meta = manifest["metadata"]
    if manifest["kind"] != "Service":
        return Decoded(None)
    value = meta.get("labels", {}).get("v", "")
    if value == "bad":
        ref = ObjectRef("", "Service", meta["namespace"], meta["name"])
        return Decoded(None, (Problem("Bad", Level.ERROR, Origin(ref), "bad"),))
    return Decoded(value)


def service(name: str, v: object = "1", kind: str = "Service") -> str:
    return f"apiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}, labels: {{v: '{v}'}}}}\n---\n"


def world(batch: Batch) -> dict[str, Any]:
    return {ref.name: value for ref, value in batch.changes.items()}


async def read_one(batches: AsyncIterator[Batch]) -> Batch:
    return await anext(batches)


class Hand:
    """Wakes a source when the test says so."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[int] = asyncio.Queue()
        self.slept: list[float] = []
        self.while_asleep: Callable[[], object] = dict

    async def wakeups(self) -> AsyncIterator[object]:
        while True:
            yield await self._queue.get()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.while_asleep()

    def wake(self) -> None:
        self._queue.put_nowait(1)


class Driven:
    """A source whose every step the test takes."""

    def __init__(self, *paths: Path, recursive: bool = False) -> None:
        self.hand = Hand()
        roots = Roots(paths, recursive)
        self.source = FilesSource(roots, decode, wakeups=self.hand.wakeups, sleep=self.hand.sleep)
        self._batches = self.source.batches()

    async def first(self) -> Batch:
        return await anext(self._batches)

    async def step(self) -> Batch | None:
        self.hand.wake()
        batch: Batch | None = await self.source._step()
        return batch


async def test_the_first_batch_is_everything_even_when_that_is_nothing(tmp_path: Path) -> None:
    assert await Driven(tmp_path).first() == Batch({}, (), {})
    (tmp_path / "a.yaml").write_text(service("a") + service("b"))
    (tmp_path / "c.json").write_text('{"apiVersion":"v1","kind":"Service","metadata":{"name":"c"}}')
    (tmp_path / "notes.txt").write_text("not read")
    (tmp_path / ".hidden.yaml").write_text(service("hidden"))
    assert world(await Driven(tmp_path).first()) == {"a": "1", "b": "1", "c": ""}


async def test_only_what_changed_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(service("a") + service("b"))
    driven = Driven(tmp_path)
    await driven.first()
    assert await driven.step() is None
    file.write_text(service("a", 2) + service("b"))
    batch = await driven.step()
    assert batch is not None
    assert world(batch) == {"a": "2"}


async def test_kinds_the_mesh_does_not_know_are_manifests_and_no_problem(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(service("d", kind="Deployment"))
    batch = await Driven(tmp_path).first()
    assert (batch.changes, batch.problems) == ({}, ())
    assert [ref.kind for ref in batch.manifests] == ["Deployment"]


async def test_an_editor_that_renames_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(service("a"))
    driven = Driven(tmp_path)
    await driven.first()
    (tmp_path / ".a.yaml.swp").write_text(service("a", 2))
    (tmp_path / ".a.yaml.swp").rename(file)
    batch = await driven.step()
    assert batch is not None
    assert world(batch) == {"a": "2"}
    assert driven.hand.slept == []


@pytest.mark.parametrize("half", ["removed", "emptied"])
async def test_an_editor_caught_between_two_steps_removes_nothing(tmp_path: Path, half: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(service("a"))
    driven = Driven(tmp_path)
    await driven.first()
    file.unlink() if half == "removed" else file.write_text("")
    driven.hand.while_asleep = lambda: file.write_text(service("a", 2))
    batch = await driven.step()
    assert batch is not None
    assert world(batch) == {"a": "2"}
    assert driven.hand.slept == [0.15]


@pytest.mark.parametrize("how", ["removed", "emptied"])
async def test_what_a_second_look_confirms_is_removed(tmp_path: Path, how: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(service("a"))
    driven = Driven(tmp_path)
    await driven.first()
    file.unlink() if how == "removed" else file.write_text("")
    batch = await driven.step()
    assert batch is not None
    assert world(batch) == {"a": None}
    assert list(batch.manifests.values()) == [None]


async def test_a_config_map_whose_symlink_is_swapped(tmp_path: Path) -> None:
    def generation(name: str, v: int) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.yaml").write_text(service("a", v))
        (tmp_path / "..data_tmp").symlink_to(name)
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    generation("..2026_01", 1)
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    driven = Driven(tmp_path)
    assert world(await driven.first()) == {"a": "1"}
    generation("..2026_02", 2)
    batch = await driven.step()
    assert batch is not None
    assert world(batch) == {"a": "2"}


async def test_a_directory_that_vanishes_keeps_its_objects_and_says_so(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    (directory / "a.yaml").write_text(service("a"))
    driven = Driven(directory)
    await driven.first()
    directory.rename(tmp_path / "gone")
    batch = await driven.step()
    assert batch is not None
    assert batch.changes == {}
    assert [problem.code for problem in batch.problems] == ["MissingDirectory"]
    (tmp_path / "gone").rename(directory)
    batch = await driven.step()
    assert batch is not None
    assert (batch.changes, batch.problems) == ({}, ())


async def test_a_directory_that_can_no_longer_be_listed_keeps_its_objects_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.yaml").write_text(service("a"))
    (tmp_path / "b.yaml").write_text(service("b"))
    driven = Driven(tmp_path, recursive=True)
    assert world(await driven.first()) == {"a": "1", "b": "1"}
    list_really = os.listdir

    def list_or_not(path: Path) -> list[str]:  # root may list everything, so it is not left to the file's mode
        if path == tmp_path / "sub":
            raise PermissionError(errno.EACCES, "Permission denied")
        return list_really(path)

    monkeypatch.setattr("controlplane.sources.files.scanning.os.listdir", list_or_not)
    batch = await driven.step()
    assert batch is not None
    assert (batch.changes, [problem.code for problem in batch.problems]) == ({}, ["MissingDirectory"])


async def test_a_directory_with_a_files_name_is_a_directory(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").mkdir()
    (tmp_path / "x.yaml" / "a.yaml").write_text(service("a"))
    assert (await Driven(tmp_path).first()).problems == ()
    assert world(await Driven(tmp_path, recursive=True).first()) == {"a": "1"}


async def test_an_object_that_can_no_longer_be_used_keeps_its_last_good_version(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(service("a"))
    driven = Driven(tmp_path)
    await driven.first()
    file.write_text(service("a", "bad"))
    batch = await driven.step()
    assert batch is not None
    assert (batch.changes, [problem.code for problem in batch.problems]) == ({}, ["Bad"])
    file.write_text(service("a", 3))
    batch = await driven.step()
    assert batch is not None
    assert (world(batch), batch.problems) == ({"a": "3"}, ())


async def test_files_that_cannot_be_read_are_problems(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9")
    (tmp_path / "huge.yaml").touch()
    os.truncate(tmp_path / "huge.yaml", 17 * 2**20)
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "dangling.yaml").symlink_to("nowhere")
    (tmp_path / "round.yaml").symlink_to("round.yaml")
    (tmp_path / "good.yaml").write_text(service("a"))
    batch = await Driven(tmp_path).first()
    assert world(batch) == {"a": "1"}
    assert [problem.message.removeprefix(f"{tmp_path}/") for problem in batch.problems] == [
        "dangling.yaml: cannot be read: No such file or directory",
        "huge.yaml: cannot be read: larger than 16 MiB",
        "latin.yaml: cannot be read: not UTF-8 text (byte 3)",
        "pipe.yaml: cannot be read: this is no ordinary file",
        "round.yaml: cannot be read: Too many levels of symbolic links",
    ]


async def test_a_link_is_read_once_it_leads_somewhere(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("a.txt")
    driven = Driven(tmp_path)
    assert [problem.code for problem in (await driven.first()).problems] == ["UnreadableFile"]
    (tmp_path / "a.txt").write_text(service("a"))
    batch = await driven.step()
    assert batch is not None
    assert (world(batch), batch.problems) == ({"a": "1"}, ())


async def test_several_directories_and_single_files(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.yaml").write_text(service(name))
    driven = Driven(tmp_path / "one", tmp_path / "two" / "x.yaml", tmp_path / "nowhere")
    batch = await driven.first()
    assert world(batch) == {"one": "1", "two": "1"}
    assert "nowhere" in batch.problems[0].message
    place = driven.source.place_of(ObjectRef("", "Service", "default", "one"))
    assert str(place) == f"{tmp_path}/one/x.yaml:1:1"


async def test_subdirectories_are_read_only_when_asked_and_a_loop_of_symlinks_ends(tmp_path: Path) -> None:
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "deep" / "deeper" / "x.yaml").write_text(service("x"))
    (tmp_path / "deep" / "again").symlink_to(tmp_path)
    assert world(await Driven(tmp_path).first()) == {}
    assert world(await Driven(tmp_path, recursive=True).first()) == {"x": "1"}


async def test_real_notifications_arrive(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(service("a"))
    batches = FilesSource(Roots((tmp_path,)), decode).batches()
    await anext(batches)
    following = asyncio.ensure_future(read_one(batches))
    (tmp_path / "new").write_text(service("a", 2))
    (tmp_path / "new").rename(tmp_path / "a.yaml")
    assert world(await asyncio.wait_for(following, 10)) == {"a": "2"}


async def test_memory_gives_everything_first_then_merged_changes() -> None:
    source, ref = MemorySource(), ObjectRef("", "Service", "default", "a")
    batches = source.batches()
    assert (await anext(batches)).changes == {}
    source.put({ref: 1})
    source.put({ref: 2})
    assert (await asyncio.wait_for(anext(batches), 1)).changes == {ref: 2}


@pytest.mark.parametrize("error", [OSError("OS file watch limit reached"), RuntimeError("no such thing here")])
async def test_where_the_system_tells_nothing_files_are_looked_at(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Nothing:
        def __init__(self, *_: object, **__: object) -> None: ...

        def __aiter__(self) -> "Nothing":
            return self

        async def __anext__(self) -> object:
            raise error

    monkeypatch.setattr("controlplane.sources.files.source.awatch", Nothing)
    monkeypatch.setattr("controlplane.sources.files.source.LOOK_AT_LEAST_EVERY", 0.01)
    (tmp_path / "a.yaml").write_text(service("a"))
    batches = FilesSource(Roots((tmp_path,)), decode).batches()
    await anext(batches)
    following = asyncio.ensure_future(read_one(batches))
    (tmp_path / "a.yaml").write_text(service("a", 2))
    assert world(await asyncio.wait_for(following, 10)) == {"a": "2"}
