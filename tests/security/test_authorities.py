"""The authority of a running mesh: every step kept before it counts, none that cuts somebody off, none in silence."""

from datetime import timedelta
from itertools import count, product
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from controlplane.base.identity import Identity
from controlplane.security.authorities import Authorities, open_authorities
from controlplane.security.filestore import KEPT, FileBundle, FileStore
from controlplane.security.holders import Holder, Holders, Report, root_ids, signer_id
from controlplane.security.keeping import AuthorityError, Kept, StoreError
from controlplane.security.refusal import Refusal
from controlplane.security.rotation import Roots, Step
from controlplane.security.sources import OwnRoots, PluggedRoots
from tests.runtime.turning import START, TurningClock
from tests.security.plugging import Plugged
from tests.security.requests import root, same_roots
from tests.security.serving import SECRETS

WEB = Identity("cluster.local", "shop", "web")
NODE = "sidecar~10.0.0.7~web-7.shop~shop.svc.cluster.local"
EVER = START + timedelta(days=10_000)


class Crash(Exception):  # noqa: N818
    """The process ends here."""


class Failing:
    """A store or a bundle that can fail before or after a write."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.before: Exception | None = None
        self.after: Exception | None = None

    def __str__(self) -> str:
        return str(self.inner)

    async def _write(self, write, *arguments):
        if self.before is not None:
            raise self.before
        done = await write(*arguments)
        if self.after is not None:
            raise self.after
        return done

    async def load(self):
        return await self.inner.load()

    async def published(self):
        return await self.inner.published()

    async def create(self, roots: Roots):
        return await self._write(self.inner.create, roots)

    async def replace(self, roots: Roots, before: Kept):
        return await self._write(self.inner.replace, roots, before)

    async def publish(self, bundle: bytes):
        return await self._write(self.inner.publish, bundle)


class World:
    """One mesh on one disk; `start` is a process of it."""

    def __init__(self, folder: Path) -> None:
        self.clock = TurningClock()
        self.folder = folder
        self.store, self.bundle = Failing(FileStore(folder)), Failing(FileBundle(folder / "trusted.pem"))
        self.connected: list[Holder] = []
        self.plugged: Path | None = None
        self.holders = self._holders()

    def _holders(self) -> Holders:
        return Holders(self.clock, lambda: self.connected, settled=0.0)

    async def start(self) -> Authorities:
        self.holders = self._holders()
        own = OwnRoots(self.store, "cluster.local", SECRETS, self.clock)
        source = own if self.plugged is None else PluggedRoots(self.plugged, self.clock)
        return await open_authorities(source, self.holders, (self.bundle,))

    def report(self, authorities: Authorities, node: str = NODE, *, roots=None, signer: str | None = None) -> None:
        """What an agent says that has everything, or something else."""
        trusted = root_ids(authorities.roots.trusted) if roots is None else roots
        issued_by = signer_id(authorities.issuer) if signer is None else signer
        self.holders.heard(WEB, node, Report(frozenset(trusted), issued_by, EVER))

    def connect(self, node: str = NODE) -> None:
        self.connected.append(Holder("shop", "web", node))

    @property
    def told(self) -> bytes:
        return (self.folder / "trusted.pem").read_bytes()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def taken(found: Roots | Refusal) -> Roots:
    assert isinstance(found, Roots), found
    return found


def refused(found: Roots | Refusal) -> str:
    assert isinstance(found, Refusal), found
    return found.message


# --- a first start, and later ones ---------------------------------------------------------------------------------


async def test_a_root_is_made_once(world):
    first = await world.start()
    again = await world.start()
    assert same_roots(first.roots, again.roots)
    assert world.told == first.bundle


async def test_a_root_whose_key_is_gone_is_not_replaced_in_silence(world):
    await world.start()
    (world.folder / KEPT).unlink()
    before = world.told
    with pytest.raises(AuthorityError, match="backup"):
        await world.start()
    assert not (world.folder / KEPT).exists()
    assert world.told == before
    (world.folder / "trusted.pem").unlink()
    assert (await world.start()).bundle != before, "who removes both has asked for it"


async def test_a_bundle_that_was_lost_is_told_again(world):
    authorities = await world.start()
    (world.folder / "trusted.pem").write_bytes(b"something else")
    await authorities.look()
    assert world.told == authorities.bundle


async def test_without_its_bundle_told_no_mesh_starts(world):
    world.bundle.before = StoreError("no room")
    with pytest.raises(StoreError, match="no room"):
        await world.start()


# --- steps ---------------------------------------------------------------------------------------------------------


async def test_a_rotation_waits_for_each_connected_proxy_and_names_it(world):
    authorities = await world.start()
    old = authorities.roots.current
    world.connect()
    world.report(authorities)
    changes = count()
    authorities.follow(lambda: next(changes))

    trusting = taken(await authorities.begin())
    assert trusting.step is Step.TRUSTING
    assert world.told == authorities.bundle == trusting.bundle
    assert authorities.issuer == old
    assert "web-7.shop" in refused(await authorities.switch())
    assert authorities.lacking() == ["web-7.shop"]

    world.report(authorities)
    issuing = taken(await authorities.switch())
    assert authorities.issuer != old
    assert "web-7.shop" in refused(await authorities.finish())
    assert authorities.holding() == ["web-7.shop"]

    world.report(authorities)
    done = taken(await authorities.finish())
    assert done.step is Step.STEADY
    assert done.trusted == tuple(issuing.issuer.roots)
    assert world.told == done.bundle
    assert next(changes) == 3, "everybody who follows was told of each step"


async def test_a_rotation_can_be_abandoned_while_nobody_has_a_certificate_of_it(world):
    authorities = await world.start()
    before = authorities.roots
    taken(await authorities.begin())
    assert same_roots(taken(await authorities.abandon()), before)
    assert world.told == before.bundle
    taken(await authorities.begin())
    taken(await authorities.switch())
    assert "abandoned" in refused(await authorities.abandon())


async def test_who_has_not_reported_is_not_believed_to_have_anything(world):
    authorities = await world.start()
    world.report(authorities)
    taken(await authorities.begin())
    world.connect("sidecar~10.0.0.8~web-8.shop~shop.svc.cluster.local")
    assert "web-8.shop" in refused(await authorities.switch())


async def test_right_after_a_start_nobody_is_connected_and_that_says_nothing(world):
    authorities = await world.start()
    taken(await authorities.begin())
    authorities = await world.start()
    authorities.holders = Holders(world.clock, lambda: world.connected, settled=60.0)
    found = await authorities.switch()
    assert "coming back" in refused(found)
    await world.clock.turn(60)
    taken(await authorities.switch())


async def test_who_left_a_moment_ago_still_counts():
    clock, connected = TurningClock(), [Holder("shop", "web", NODE)]
    holders = Holders(clock, lambda: connected, lately=60.0)
    holders.heard(WEB, NODE, Report(frozenset({"old"}), "old", EVER))
    await clock.turn(1000)
    holders.look()
    connected.clear()
    await clock.turn(60)
    assert holders.lacking({"new"}) == holders.holding("new") == ["web-7.shop"], "its stream may have ended with age"
    await clock.turn(1)
    assert holders.lacking({"new"}) == holders.holding("new") == []
    holders.heard(WEB, NODE, Report(frozenset({"old"}), "old", EVER))
    assert holders.holding("new") == ["web-7.shop"], "who reports is there"


def test_reports_are_bounded_for_each_identity_and_end_with_their_certificate():
    clock = TurningClock()
    holders = Holders(clock, tuple, settled=60.0, most=10)
    other = Identity("cluster.local", "bank", "vault")
    holders.heard(other, NODE, Report(frozenset(), "", EVER))
    for number in range(50):
        holders.heard(WEB, f"node{number}", Report(frozenset(), "", START))
    assert holders.present() == 11, "who reports for many pushes out its own"
    holders.forget_ended()
    assert holders.present() == 1


# --- a process that dies -------------------------------------------------------------------------------------------

STEPS = ("begin", "switch", "finish")


@pytest.mark.parametrize(
    ("at", "moment"),
    [
        *product(range(3), ("before it is kept", "after it is kept")),
        *product((0, 2), ("before it is told", "after it is told")),  # the second step changes no bundle
    ],
)
async def test_a_crash_leaves_the_step_before_or_the_step_after(world, at, moment):
    """Never a third thing: every root there was is still there, with its key, and none is there that was not made."""
    authorities = await world.start()
    for step in STEPS[:at]:
        taken(await getattr(authorities, step)())
    before = authorities.roots
    where = world.store if "kept" in moment else world.bundle
    setattr(where, moment.split()[0], Crash())
    with pytest.raises(Crash):
        await getattr(authorities, STEPS[at])()
    world.store.before = world.store.after = world.bundle.before = world.bundle.after = None

    again = await world.start()
    if moment == "before it is kept":
        assert same_roots(again.roots, before)
    else:
        assert again.roots.step is (Step.TRUSTING, Step.ISSUING, Step.STEADY)[at]
    assert set(before.issuer.roots) <= set(again.roots.trusted), "what was issued so far is trusted"
    assert world.told == again.bundle
    for step in STEPS[STEPS.index({"trusting": "switch", "issuing": "finish", "steady": "begin"}[again.roots.step]) :]:
        taken(await getattr(again, step)())


@pytest.mark.parametrize("moment", ["after", "before"])
async def test_a_crash_while_the_first_root_is_made_makes_no_second_one_in_silence(world, moment):
    setattr(world.store, moment, Crash())
    with pytest.raises(Crash):
        await world.start()
    kept = await FileStore(world.folder).load()
    world.store.before = world.store.after = None
    again = await world.start()
    assert kept is None or same_roots(again.roots, kept.roots)


async def test_a_store_that_fails_leaves_everything_as_it_was(world):
    authorities = await world.start()
    before, told = authorities.roots, world.told
    world.store.before = StoreError("the disk is full")
    with pytest.raises(StoreError, match="full"):
        await authorities.begin()
    assert authorities.roots is before
    assert world.told == told


async def test_a_write_that_was_kept_although_it_seemed_to_fail_is_found(world):
    authorities = await world.start()
    world.store.after = StoreError("no answer in time")
    with pytest.raises(StoreError, match="no answer"):
        await authorities.begin()
    world.store.after = None
    await authorities.look()
    assert authorities.roots.step is Step.TRUSTING
    assert world.told == authorities.bundle


async def test_a_bundle_that_cannot_be_told_now_is_told_later_and_that_is_a_problem(world):
    authorities = await world.start()
    world.bundle.before = StoreError("no room")
    taken(await authorities.begin())
    assert authorities.problem == "no room"
    await authorities.look()
    assert authorities.problem == "no room"
    world.bundle.before = None
    await authorities.look()
    assert authorities.problem == ""
    assert world.told == authorities.bundle


# --- plugged in ----------------------------------------------------------------------------------------------------


def plug(world: World, top=None, **changed) -> Plugged:
    world.folder.joinpath("cacerts").mkdir(exist_ok=True)
    files = Plugged(world.folder / "cacerts", top=top, now=START)
    files.write(**changed)
    world.plugged = files.folder
    return files


async def test_a_plugged_in_authority_issues_and_has_no_steps_here(world):
    files = plug(world)
    authorities = await world.start()
    assert authorities.issuer.certificate == files.signer
    assert world.told == authorities.bundle
    for step in ("begin", "switch", "finish", "abandon"):
        assert "plugged in" in refused(await getattr(authorities, step)())


async def test_without_usable_files_nothing_starts_and_nothing_is_made(world):
    world.plugged = world.folder
    with pytest.raises(AuthorityError, match=r"has no ca-cert\.pem"):
        await world.start()
    assert list(world.folder.iterdir()) == []


async def test_another_signer_under_the_same_root_is_taken_at_once(world):
    top = plug(world).top
    authorities = await world.start()
    world.connect()
    world.report(authorities)
    files = plug(world, top=top)
    await authorities.look()
    assert authorities.problem == ""
    assert authorities.issuer.certificate == files.signer


async def test_files_that_cannot_be_used_leave_the_last_good_authority_and_a_problem(world):
    files = plug(world)
    authorities = await world.start()
    good = authorities.issuer
    files.write(ca_key=b"half a fi")
    await authorities.look()
    await authorities.look()
    assert "cannot be read" in authorities.problem
    assert authorities.issuer is good
    for path in files.folder.iterdir():
        path.unlink()
    await authorities.look()
    assert "has no ca-cert.pem" in authorities.problem
    assert authorities.issuer is good
    files.write()
    await authorities.look()
    assert authorities.problem == ""
    assert authorities.issuer.certificate == files.signer


async def test_another_root_is_taken_in_three_steps_and_no_other_way(world):
    files = plug(world)
    authorities = await world.start()
    old = authorities.issuer
    world.connect()
    world.report(authorities)
    other = root(99)

    plug(world, top=other)
    await authorities.look()
    assert "web-7.shop" in authorities.problem
    assert "must trust its root first" in authorities.problem
    assert authorities.issuer is old
    assert world.told == files.top.bundle

    both = files.top.bundle + other.bundle
    files.write(root_cert=both)
    await authorities.look()
    assert authorities.problem == ""
    assert world.told == both

    new = plug(world, top=other, root_cert=both)
    await authorities.look()
    assert "must trust its root first" in authorities.problem
    world.report(authorities)
    await authorities.look()
    assert authorities.problem == ""
    assert authorities.issuer.certificate == new.signer

    new.write()
    world.report(authorities, signer=signer_id(old))
    await authorities.look()
    assert "root-cert.pem drops" in authorities.problem
    assert world.told == both
    world.report(authorities)
    await authorities.look()
    assert authorities.problem == ""
    assert world.told == other.bundle


async def test_the_mesh_is_never_without_the_roots_it_had(world):
    """A store beside the plugged-in files is not touched: who takes the files away comes back to the old roots."""
    own = await world.start()
    plug(world)
    await world.start()
    world.plugged = None
    again = await world.start()
    assert same_roots(own.roots, again.roots)
    assert isinstance(again.issuer.certificate, x509.Certificate)
