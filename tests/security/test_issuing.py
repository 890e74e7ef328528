"""The authority: the name is the caller's, the profile is ours, and of a request only the key counts."""

from datetime import timedelta
from random import Random  # noqa: TID251  the same mutations each time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controlplane.base.identity import Identity, parse_identity
from controlplane.security.authority import Authority
from controlplane.security.issuing import STANDARD, Issued, Lifetimes, issue
from controlplane.security.refusal import Refusal, Why
from tests.security.requests import CALLER, KEY, NOW, assert_as_meant, csr, forged, pem_of, root

ROOT = root()
_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")  # AlgorithmIdentifier, RFC 5758
OTHERS_NAME = x509.UniformResourceIdentifier("spiffe://cluster.local/ns/bank/sa/vault")


def issued(request: bytes, caller: Identity = CALLER, authority: Authority = ROOT, **more) -> Issued | Refusal:
    return issue(request, caller, authority, now=NOW, serial=2**127 + 1, **more)


@pytest.mark.parametrize(
    "key",
    [KEY, ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)],
    ids=["P-256", "P-384", "RSA 2048"],
)
def test_a_key_gets_a_certificate_in_its_callers_name(key):
    request = csr(key)
    found = issued(request)
    assert isinstance(found, Issued)
    assert_as_meant(found, CALLER, ROOT, request, STANDARD)


@pytest.mark.parametrize(
    ("names", "extensions"),
    [
        ((OTHERS_NAME,), ()),
        ((x509.UniformResourceIdentifier(CALLER.uri), OTHERS_NAME), ()),
        ((x509.DNSName("bank.svc.cluster.local"), x509.RFC822Name("root@bank.test")), ()),
        ((), (x509.BasicConstraints(ca=True, path_length=None),)),
        ((OTHERS_NAME,), (x509.BasicConstraints(ca=True, path_length=3), x509.ExtendedKeyUsage([x509.OID_CODE_SIGNING]))),
    ],
    ids=["another's name", "two names", "other kinds of name", "an authority", "all of it"],
)  # fmt: skip
def test_what_a_request_asks_for_is_not_given(names, extensions):
    request = csr(KEY, *names, extensions=extensions)
    found = issued(request)
    assert isinstance(found, Issued)
    assert_as_meant(found, CALLER, ROOT, request, STANDARD)


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (csr(rsa.generate_private_key(65537, 1024)), Why.KEY),
        (csr(rsa.generate_private_key(3, 2048)), Why.KEY),
        (csr(ec.generate_private_key(ec.SECP521R1())), Why.KEY),
        (csr(ec.generate_private_key(ec.SECP256K1())), Why.KEY),
        (b"", Why.MALFORMED),
        (b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", Why.MALFORMED),
        (csr() + csr(), Why.MALFORMED),
        (csr() + b"x" * 20_000, Why.MALFORMED),
        (b"junk\n" + csr(), Why.MALFORMED),
        (KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), Why.MALFORMED),
    ],
    ids=["RSA 1024", "exponent 3", "P-521", "secp256k1", "empty", "no DER", "two", "large", "text before", "a key"],
)
def test_what_is_refused(request_, why):
    found = issued(request_)
    assert isinstance(found, Refusal)
    assert found.why is why, found


def test_edwards_keys_are_refused():
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.sign(ed25519.Ed25519PrivateKey.generate(), None).public_bytes(Encoding.PEM)
    found = issued(request)
    assert isinstance(found, Refusal)
    assert found.why is Why.KEY


def test_the_key_must_be_the_callers_own():
    """A CSR for a public key that somebody saw: signed with another key, it proves nothing."""
    found = issued(forged())
    assert isinstance(found, Refusal)
    assert found.why is Why.UNPROVEN


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        (None, timedelta(hours=24)),
        (timedelta(hours=1), timedelta(hours=1)),
        (timedelta(days=36_500), timedelta(hours=24)),
        (timedelta(0), timedelta(minutes=1)),
        (timedelta(days=-1), timedelta(minutes=1)),
    ],
)
def test_lifetimes_are_clamped(asked, granted):
    found = issued(csr(), asked=asked)
    assert isinstance(found, Issued)
    assert found.not_after - NOW == granted


def test_no_certificate_outlives_its_authority():
    late = ROOT.certificate.not_valid_after_utc - timedelta(hours=1)
    found = issue(csr(), CALLER, ROOT, now=late, serial=1)
    assert isinstance(found, Issued)
    assert found.not_after == ROOT.certificate.not_valid_after_utc
    found = issue(csr(), CALLER, ROOT, now=ROOT.certificate.not_valid_after_utc, serial=1)
    assert isinstance(found, Refusal)
    assert found.why is Why.AUTHORITY


@pytest.mark.parametrize(
    "uri",
    [
        "spiffe://cluster.local/ns/a/sa/b/",
        "spiffe://cluster.local/ns/a/sa/b/sa/c",
        "spiffe://cluster.local/ns/a%2Fsa%2Fb/sa/c",
        "spiffe://cluster.local/ns/../sa/b",
        "spiffe://cluster.local/ns/a\0/sa/b",
        "spiffe://cluster.local/ns//sa/b",
        "spiffe://CLUSTER.LOCAL/ns/a/sa/b",
        "spiffe://cluster.local:8080/ns/a/sa/b",
        "spiffe://user@cluster.local/ns/a/sa/b",
        "SPIFFE://cluster.local/ns/a/sa/b",
        "spiffe:/cluster.local/ns/a/sa/b",
        "spiffe://cluster.local/ns/a.b/sa/c",
        "spiffe://cluster.local/ns/a/sa/ü",
        "spiffe://cluster.local/ns/a/sa/b?x=y",
        "spiffe://cluster.local/ns/a/sa/b#x",
        f"spiffe://cluster.local/ns/{'a' * 64}/sa/b",
    ],
)
def test_names_that_are_none(uri):
    assert parse_identity(uri) is None


def test_a_caller_without_a_proper_name_gets_nothing():
    found = issued(csr(), Identity("cluster.local", "shop", "web\0,spiffe://cluster.local/ns/bank/sa/vault"))
    assert isinstance(found, Refusal)
    assert found.why is Why.IDENTITY


@pytest.mark.point
def test_mutated_requests_get_the_callers_name_or_nothing(size, proved):
    """Bytes flipped, cut, doubled and moved about in good requests, half of them signed again by whoever made them: a
    workload may ask for anything. What is issued all the same is as meant.
    """
    random, taken, refused, asked = Random(1848), 0, 0, size(600, 10_000, 100_000)
    seeds = [csr(), csr(KEY, OTHERS_NAME), csr(rsa.generate_private_key(65537, 2048), OTHERS_NAME)]
    ders = [x509.load_pem_x509_csr(one).public_bytes(Encoding.DER) for one in seeds]
    lifetimes = Lifetimes()
    for _ in range(asked):
        request = _mutated(random, seeds, ders) if random.random() < 0.5 else _resigned(random)
        found = issued(request, lifetimes=lifetimes)
        if isinstance(found, Issued):
            assert_as_meant(found, CALLER, ROOT, request, lifetimes)
            taken += 1
        else:
            refused += 1
    proved(
        "identity 4",
        "mutated CSRs (threat row 18)",
        bound="nothing issued but the caller's name under our profile",
        figure=f"{taken} issued, each parsed again and as meant",
        holds=refused > taken > 0,
        cases=asked,
        asked=asked,
    )


def _mutated(random: Random, seeds: list[bytes], ders: list[bytes]) -> bytes:
    """In the DER mostly, where the names and keys are; sometimes in the PEM around it."""
    inside = random.random() < 0.8
    content = bytearray(random.choice(ders if inside else seeds))
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(content))
        match random.randrange(4):
            case 0:
                content[at] ^= 1 << random.randrange(8)
            case 1:
                del content[at : at + random.randint(1, 8)]
            case 2:
                content[at:at] = content[at : at + random.randint(1, 32)]
            case _:
                content[at] = random.randrange(256)
        if not content:
            break
    return pem_of(bytes(content)) if inside else bytes(content)


def _resigned(random: Random) -> bytes:
    """What is asked for has changed, and the holder of the key has signed that."""
    names = [OTHERS_NAME, x509.UniformResourceIdentifier(CALLER.uri), x509.DNSName("bank.svc")]
    asked = x509.load_pem_x509_csr(
        csr(KEY, random.choice(names), extensions=(x509.BasicConstraints(ca=True, path_length=3),))
    )
    content = bytearray(asked.tbs_certrequest_bytes)
    for _ in range(random.choice([0, 1, 1, 2])):
        content[random.randrange(len(content))] = random.choice([*b"/:.abkns", 0, 255, random.randrange(256)])
    signature = KEY.sign(bytes(content), ec.ECDSA(SHA256()))
    return pem_of(_der(0x30, bytes(content) + _ECDSA_SHA256 + _der(0x03, b"\0" + signature)))


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    size = bytes([length]) if length < 128 else bytes([0x82]) + length.to_bytes(2, "big")
    return bytes([tag]) + size + content
