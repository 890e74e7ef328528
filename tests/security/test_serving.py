"""The control plane's own certificate: of its own authority, renewed in time, with the roots of the moment."""

from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from controlplane.base.identity import Identity
from controlplane.runtime.tls import Generation
from controlplane.security.authorities import Authorities, open_authorities
from controlplane.security.filestore import FileStore
from controlplane.security.holders import Holders
from controlplane.security.issuing import Lifetimes
from controlplane.security.keeping import AuthorityError
from controlplane.security.refusal import Refusal
from controlplane.security.serving import Names, Serving
from controlplane.security.sources import OwnRoots
from controlplane.snapshot.types import CLUSTER
from controlplane.xds.admission import MeshAdmission
from controlplane.xds.credentials import Certificates
from controlplane.xds.server import AdsServer
from tests.runtime.turning import TurningClock
from tests.security.serving import SECRETS, SERVER, served
from tests.xds.served import Client, MemoryProxies
from tests.xds.views import MemoryView, cluster

ME = Identity("cluster.local", "lateen-system", "lateend")
HOUR = 3600.0


async def opened(folder: Path, clock: TurningClock, **how) -> tuple[Authorities, Serving, list[Generation]]:
    source, seen = OwnRoots(FileStore(folder), "cluster.local", SECRETS, clock), list[Generation]()
    authorities = await open_authorities(source, Holders(clock, tuple, settled=0.0), ())
    serving = Serving(authorities, Names(ME, (SERVER, "lateend")), SECRETS, clock, **how)
    serving.follow(seen.append)
    return authorities, serving, seen


def leaf(generation: Generation) -> x509.Certificate:
    return x509.load_pem_x509_certificates(generation.certificate)[0]


async def test_it_is_known_by_its_names_and_its_identity(tmp_path):
    authorities, serving, _ = await opened(tmp_path, TurningClock())
    found = serving.read()
    found.check()
    names = leaf(found).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [SERVER, "lateend"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [ME.uri]
    assert found.roots == authorities.bundle


async def test_it_is_renewed_at_half_its_life(tmp_path):
    clock = TurningClock()
    _, serving, seen = await opened(tmp_path, clock)
    first = serving.read()
    await clock.turn(11.9 * HOUR)
    serving.renew()
    assert serving.read() is first
    await clock.turn(0.2 * HOUR)
    serving.renew()
    assert seen == [serving.read()]
    assert leaf(seen[0]).not_valid_after_utc - clock.now() > timedelta(hours=23)
    assert seen[0].key != first.key


async def test_each_step_of_a_rotation_reaches_it_at_once(tmp_path):
    authorities, serving, seen = await opened(tmp_path, TurningClock())
    first = serving.read()
    assert not isinstance(await authorities.begin(), Refusal)
    assert seen[-1] == first._replace(roots=authorities.bundle), "the same certificate, both roots"
    assert not isinstance(await authorities.switch(), Refusal)
    leaf(seen[-1]).verify_directly_issued_by(authorities.issuer.certificate)
    assert not isinstance(await authorities.finish(), Refusal)
    assert seen[-1].roots == authorities.bundle
    assert seen[-1].certificate == seen[-2].certificate
    for generation in seen:
        generation.check()


async def test_an_authority_that_ended_is_an_error_at_the_start_and_later_keeps_what_there_is(tmp_path):
    clock = TurningClock()
    _, serving, seen = await opened(tmp_path, clock, lifetimes=Lifetimes())
    first = serving.read()
    await clock.turn(3651 * 24 * HOUR)
    serving.renew()
    assert serving.read() == first
    assert seen == []
    with pytest.raises(AuthorityError, match="lateen ca rotate"):
        await opened(tmp_path, clock)


async def test_grpc_follows_it_from_one_root_to_the_next(tmp_path):
    """The xDS port takes its generations from memory: no restart, no file."""
    async with served(tmp_path) as world:
        proxies = MemoryProxies(MemoryView([cluster("a")]))
        server = AdsServer(proxies, world.clock, lambda: 0.5)
        port = await server.listen_tcp(
            "127.0.0.1", 0, Certificates(world.serving), MeshAdmission(frozenset({"cluster.local"}))
        )
        old_roots, old = world.authorities.bundle, await world.certified()
        assert await connects(port, old_roots, old)
        assert not isinstance(await world.authorities.begin(), Refusal)
        both = world.authorities.bundle
        assert not isinstance(await world.authorities.switch(), Refusal)
        new = await world.certified()
        assert await connects(port, both, old)
        assert await connects(port, both, new)
        assert not await connects(port, old_roots, old), "it has a certificate of the new root already"
        assert not isinstance(await world.authorities.finish(), Refusal)
        assert await connects(port, world.authorities.bundle, new)
        assert not await connects(port, both, old), "and trusts the old root no more"
        await server.stop()


async def connects(port: int, roots: bytes, own: tuple[bytes, bytes]) -> bool:
    chain, key = own
    credentials = grpc.ssl_channel_credentials(roots, key, chain)
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
        ("grpc.ssl_target_name_override", SERVER),
    ]
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as channel:
        stream = Client(channel)
        try:
            await stream.send(CLUSTER)
            answer = await stream.read()
        except (AssertionError, grpc.aio.AioRpcError):
            assert await stream.code() == grpc.StatusCode.UNAVAILABLE
            return False
        assert [each.name for each in answer.resources] == ["a"]
        return True
