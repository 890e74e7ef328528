"""Who calls: decided by proofs alone, and guesses cost nobody but who makes them."""

import os
from datetime import timedelta
from random import Random  # noqa: TID251  the same mutations each time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from controlplane.base.identity import Identity
from controlplane.runtime.buckets import Buckets, Rate
from controlplane.security.callers import Callers, network_of
from controlplane.security.heldcertificate import holder_of
from controlplane.security.issuing import Issued, issue, issue_serving
from controlplane.security.localtokens import LocalTokens
from controlplane.security.refusal import Refusal, Why
from tests.runtime.turning import TurningClock
from tests.security.requests import CALLER, KEY, NOW, csr, root

ROOT = root()
DOMAINS = ("cluster.local", "old.example")
VAULT = Identity("cluster.local", "bank", "vault")


class World:
    """Callers of a mesh on one machine."""

    def __init__(self, failures: int = 5) -> None:
        self.clock = TurningClock()
        self.tokens = LocalTokens(os.urandom)
        self.token = self.tokens.mint(CALLER)
        rate = Rate(burst=failures, per_second=0.1)
        self.callers = Callers(self.tokens, DOMAINS, Buckets(self.clock, rate), lambda: NOW)

    async def ask(self, authorization: str | None, certificate: bytes = b"", address: str = "10.0.0.1"):
        return await self.callers.by_any(authorization, certificate, address)


def leaf(caller: Identity = CALLER, **more) -> bytes:
    found = issue(csr(), caller, ROOT, now=NOW, serial=4, **more)
    assert isinstance(found, Issued)
    return der(found.chain)


def der(chain: bytes) -> bytes:
    return x509.load_pem_x509_certificates(chain)[0].public_bytes(Encoding.DER)


def made(*names: x509.GeneralName, ca: bool = False, usage=(ExtendedKeyUsageOID.CLIENT_AUTH,)) -> bytes:
    """A certificate of our root that we would not issue."""
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(ROOT.certificate.subject)
    builder = builder.public_key(KEY.public_key()).serial_number(5)
    builder = builder.not_valid_before(NOW - timedelta(hours=1)).not_valid_after(NOW + timedelta(hours=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
    return builder.sign(ROOT.key, SHA256()).public_bytes(Encoding.DER)


URI = x509.UniformResourceIdentifier


# --- tokens --------------------------------------------------------------------------------------------------------


async def test_a_token_says_whose_it_is_until_it_is_revoked():
    world = World()
    other = world.tokens.mint(VAULT)
    assert await world.ask(f"Bearer {world.token}") == CALLER
    assert await world.ask(f"bearer {other}") == VAULT
    world.tokens.revoke(world.token)
    assert refused(await world.ask(f"Bearer {world.token}")) is Why.UNAUTHENTICATED
    assert await world.ask(f"Bearer {other}") == VAULT


def test_tokens_are_long_and_no_two_are_the_same():
    tokens = LocalTokens(os.urandom)
    assert {len(tokens.mint(CALLER)) for _ in range(100)} == {64}
    assert len({tokens.mint(CALLER) for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Basic {}", "{}", "Bearer {} ", "Bearer  {}", "Bearer {}\0", "Bearer {}x", "Bearer {},{}",
     "Bearer é", "Bearer " + "x" * 9000, "Bearer {}\x7f"],
)  # fmt: skip
async def test_what_is_nearly_a_token_is_none(authorization):
    world = World()
    assert refused(await world.ask(authorization.replace("{}", world.token))) is Why.UNAUTHENTICATED


async def test_a_wrong_token_is_not_made_good_by_a_certificate():
    world = World()
    assert await world.ask(None, leaf()) == CALLER
    assert refused(await world.ask("Bearer wrong", leaf())) is Why.UNAUTHENTICATED


@pytest.mark.point
async def test_mutated_tokens_are_nobodys(size, proved):
    """Cut, doubled, changed, in other letters: whatever is not the token is refused, and by words alone."""
    world, random, asked, taken = World(failures=10**9), Random(1848), size(2_000, 10_000, 100_000), 0
    tokens = {world.tokens.mint(Identity("cluster.local", "shop", f"web-{n}")): n for n in range(50)}
    for _ in range(asked):
        text = mutated(random, random.choice(list(tokens)))
        found = await world.ask(f"Bearer {text}")
        assert (text in tokens) == isinstance(found, Identity)
        taken += isinstance(found, Identity)
    proved(
        "identity 4",
        "mutated tokens",
        bound="only tokens that were minted are anybody's",
        figure=f"{taken} taken, still whole",
        holds=True,
        cases=asked,
        asked=asked,
    )


def mutated(random: Random, token: str) -> str:
    at = random.randrange(len(token))
    match random.randrange(6):
        case 0:
            return token[:at] + random.choice("0123456789abcdefg ,;.\t%é\0") + token[at + 1 :]
        case 1:
            return token[:at] + token[at + 1 :]
        case 2:
            return token + token[at:]
        case 3:
            return token.upper()
        case 4:
            return token[at:] + token[:at]
        case _:
            return token[:at]


# --- failures ------------------------------------------------------------------------------------------------------


async def test_guesses_are_not_asked_about_for_ever_and_who_is_known_is_not_held_up():
    world = World(failures=3)
    for _ in range(3):
        assert refused(await world.ask("Bearer guess")) is Why.UNAUTHENTICATED
    busy = await world.ask("Bearer guess")
    assert refused(busy) is Why.BUSY
    assert 0 < busy.retry_after <= 10
    assert await world.ask(f"Bearer {world.token}") == CALLER, "from the same address"
    assert await world.ask(None, leaf()) == CALLER
    assert refused(await world.ask("Bearer guess", address="10.0.0.2")) is Why.UNAUTHENTICATED, "others have their own"
    await world.clock.turn(busy.retry_after)
    assert refused(await world.ask("Bearer guess")) is Why.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1%eth0", "fe80::2", True),
        ("", "", True),
    ],
)
def test_failures_are_counted_by_what_a_caller_cannot_choose(one, other, same):
    assert (network_of(one) == network_of(other)) == same


# --- certificates --------------------------------------------------------------------------------------------------


def test_a_certificate_we_issued_says_whose_it_is():
    assert holder_of(leaf(), DOMAINS, NOW) == CALLER


async def test_an_alias_of_the_trust_domain_is_us():
    old = Identity("old.example", "shop", "web")
    assert await World().ask(None, leaf(old)) == CALLER


@pytest.mark.parametrize(
    "certificate",
    [
        b"",
        b"\x30\x03\x02\x01\x01",
        leaf()[:-1],
        made(),
        made(x509.DNSName("web.shop")),
        made(URI(CALLER.uri), x509.DNSName("web.shop")),
        made(URI(CALLER.uri), URI(VAULT.uri)),
        made(URI(CALLER.uri), URI(CALLER.uri)),
        made(URI(CALLER.uri), ca=True),
        made(URI(CALLER.uri), usage=()),
        made(URI(CALLER.uri), usage=(ExtendedKeyUsageOID.SERVER_AUTH,)),
        made(URI("spiffe://elsewhere.example/ns/shop/sa/web")),
        made(URI("spiffe://cluster.local/ns/shop/sa/web/")),
        made(URI("spiffe://cluster.local/ns/shop/sa/web\0")),
        made(URI("spiffe://cluster.local/ns/shop%2fsa%2fweb/sa/x")),
        made(URI("https://cluster.local/ns/shop/sa/web")),
        made(x509.RFC822Name("spiffe://cluster.local/ns/shop/sa/web")),
        ROOT.certificate.public_bytes(Encoding.DER),
    ],
    ids=[
        "none", "other DER", "cut", "no name", "DNS", "URI and DNS", "two URIs", "the same twice", "an authority",
        "no usage", "servers only", "elsewhere", "slash", "NUL", "escaped slash", "another scheme", "mail", "the root",
    ],
)  # fmt: skip
async def test_what_is_no_workloads_certificate_proves_nothing(certificate):
    assert refused(await World().ask(None, certificate)) is Why.UNAUTHENTICATED


@pytest.mark.parametrize("hours", [-1, 24, 10_000])
def test_time_counts(hours):
    assert isinstance(holder_of(leaf(), DOMAINS, NOW + timedelta(hours=hours)), Refusal)


def test_our_own_servers_certificate_renews_nothing():
    found = issue_serving(KEY.public_key(), ("lateend.svc",), CALLER, ROOT, now=NOW, serial=4)
    assert isinstance(found, Issued)
    assert isinstance(holder_of(der(found.chain), DOMAINS, NOW), Refusal)


@pytest.mark.point
def test_mutated_certificates_are_their_holders_or_nobodys(size, proved):
    """TLS has refused nearly all of these for their signature; whatever is left names its holder, or nobody."""
    random, original, taken, asked = Random(1848), leaf(), 0, size(2_000, 10_000, 100_000)
    for _ in range(asked):
        content = bytearray(original)
        for _ in range(random.randint(1, 3)):
            content[random.randrange(len(content))] = random.randrange(256)
        found = holder_of(bytes(content), DOMAINS, NOW)
        if isinstance(found, Identity):
            taken += 1
            assert found.uri.encode() in content
            assert found.trust_domain in DOMAINS
    proved(
        "identity 4",
        "mutated certificates of callers (threat row 19)",
        bound="whose they are is what they name, exactly, or nobody",
        figure=f"{taken} taken: changed in key or signature, which TLS looks at",
        holds=taken > 0,
        cases=asked,
        asked=asked,
    )


def refused(found: Identity | Refusal) -> Why:
    assert isinstance(found, Refusal), found
    return found.why
