"""Roots on disk: whole or not at all, for the owner's eyes, and never written over what somebody else wrote."""

import os

import pytest

from controlplane.security.filestore import KEPT, FileBundle, FileStore
from controlplane.security.keeping import AuthorityError, Kept, StoreError
from controlplane.security.rotation import Roots, begin, switch
from tests.security.requests import root, same_roots


def rotated() -> list[Roots]:
    steady = Roots(root(1))
    trusting = begin(steady, root(2))
    assert isinstance(trusting, Roots)
    issuing = switch(trusting, ())
    assert isinstance(issuing, Roots)
    return [steady, trusting, issuing]


async def created(folder, roots: Roots | None = None) -> Kept:
    kept = await FileStore(folder).create(roots or Roots(root()))
    assert kept is not None
    return kept


async def test_what_is_kept_is_loaded_at_every_step(tmp_path):
    store = FileStore(tmp_path / "ca")
    assert await store.load() is None
    first, *later = rotated()
    kept = await created(tmp_path / "ca", first)
    for roots in later:
        after = await store.replace(roots, kept)
        assert after is not None
        kept = after
        found = await FileStore(tmp_path / "ca").load()
        assert found is not None
        assert found.revision == kept.revision
        assert same_roots(found.roots, roots)
        assert (tmp_path / "ca" / KEPT).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "ca").iterdir()] == [KEPT], "nothing half-written is left"


async def test_a_first_root_is_kept_only_where_there_is_none(tmp_path):
    kept = await created(tmp_path)
    assert await FileStore(tmp_path).create(Roots(root(2))) is None
    found = await FileStore(tmp_path).load()
    assert found is not None
    assert same_roots(found.roots, kept.roots)


async def test_what_changed_meanwhile_is_not_written_over(tmp_path):
    store, (steady, trusting, issuing) = FileStore(tmp_path), rotated()
    before = await created(tmp_path, steady)
    assert await store.replace(trusting, before) is not None
    assert await store.replace(issuing, before) is None
    (tmp_path / KEPT).unlink()
    assert await store.replace(issuing, before) is None


async def test_keys_that_others_may_read_are_refused(tmp_path):
    await created(tmp_path)
    (tmp_path / KEPT).chmod(0o640)
    with pytest.raises(AuthorityError, match="chmod 600"):
        await FileStore(tmp_path).load()


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{}",
        b"not json",
        b'{"step":"steady","current":{"key":"","certificate":"","chain":"","roots":""}}',
    ],
)  # fmt: skip
async def test_a_damaged_file_is_an_error(tmp_path, damage):
    await created(tmp_path)
    (tmp_path / KEPT).write_bytes(damage)
    with pytest.raises(AuthorityError, match="damaged"):
        await FileStore(tmp_path).load()


@pytest.mark.parametrize("step", ["trusting", "issuing"])
async def test_a_step_without_its_second_root_is_damage(tmp_path, step):
    await created(tmp_path)
    content = (tmp_path / KEPT).read_text().replace('"steady"', f'"{step}"')
    (tmp_path / KEPT).write_text(content)
    with pytest.raises(AuthorityError, match="damaged"):
        await FileStore(tmp_path).load()


async def test_a_write_that_fails_leaves_the_old_roots(tmp_path, monkeypatch):
    store, (steady, trusting, _) = FileStore(tmp_path), rotated()
    before = await created(tmp_path, steady)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space"):
        await store.replace(trusting, before)
    monkeypatch.undo()
    found = await store.load()
    assert found is not None
    assert same_roots(found.roots, steady)
    assert [path.name for path in tmp_path.iterdir()] == [KEPT]


async def test_a_bundle_is_a_file_that_everybody_may_read(tmp_path):
    bundle = FileBundle(tmp_path / "there" / "trusted.pem")
    assert await bundle.published() is None
    await bundle.publish(b"roots")
    assert await bundle.published() == b"roots"
    assert (tmp_path / "there" / "trusted.pem").stat().st_mode & 0o777 == 0o644
