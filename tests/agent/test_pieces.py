"""The agent's pure parts, and the files it writes, one by one."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st

from controlplane.agent import certificate, renewal
from controlplane.agent.admin import counted
from controlplane.agent.authority import _is_plain, _seconds
from controlplane.agent.certificate import Pair, Unusable, examine, parse_roots, public_key_info
from controlplane.agent.envoy import EnvoyOptions, command, describe
from controlplane.agent.generations import IdentityWriter, Stored
from controlplane.agent.keys import Key, new_key
from controlplane.agent.minting import mint
from controlplane.security.authority import pem
from tests.agent.endpoint import new_authority, signed

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
URI = x509.UniformResourceIdentifier("spiffe://cluster.local/ns/shop/sa/cart")


# When to ask again


@given(st.floats(3, 1e7), st.floats(0, 1, exclude_max=True))
def test_the_next_certificate_is_asked_for_around_half_of_a_life(life, random):
    due = renewal.renew_at(NOW, NOW + timedelta(seconds=life), random)
    assert 0.449 * life <= (due - NOW).total_seconds() <= 0.551 * life


@given(st.floats(-1e6, 2))
def test_never_at_once_again(life):
    assert (renewal.renew_at(NOW, NOW + timedelta(seconds=life), 0.0) - NOW).total_seconds() >= 0.85


@given(st.floats(0.1, 30), st.floats(-100, 1e6))
def test_the_back_off_yields_to_an_end_that_is_near(backoff, left):
    wait = renewal.retry_in(backoff, left)
    assert wait == pytest.approx(min(backoff, max(1.0, left / 10)) if left > 0 else backoff)


@pytest.mark.parametrize(("asked", "waits"), [(5.0, 5.0), (0.0, 2.0), (1e6, 300.0)])
def test_what_a_server_asks_for_is_heeded_within_bounds(asked, waits):
    assert renewal.retry_in(2.0, 1.0, asked) == waits


def test_retry_after_is_a_number_of_seconds():
    assert [_seconds(text) for text in ("3", "0", "", "-1", "3.5", "٣", "Fri, 01 May 2026 12:00:00 GMT", "9" * 20)] == [
        3.0, 0.0, None, None, None, None, None, None
    ]  # fmt: skip


# Certificates


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65537, 4096),
    ],
    ids=["P-256", "P-384", "RSA 4096"],
)
@pytest.mark.parametrize("names", [0, 200])
def test_the_public_key_is_found_in_a_certificate(key, names):
    """Short ones and ones whose lengths take several bytes, by another reader."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"a{number}") for number in range(names)])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(2**127)
        .not_valid_before(NOW)
        .not_valid_after(NOW)
        .sign(key, SHA256())
    )
    expected = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert public_key_info(built.public_bytes(Encoding.DER)) == expected


def pair(folder: Path, content: bytes) -> Pair:
    """Key and chain of `signed`, in files of their own."""
    end = b"-----END PRIVATE KEY-----\n"
    key, _, chain = content.partition(end)
    (folder / "key.pem").write_bytes(key + end)
    (folder / "chain.pem").write_bytes(chain)
    return Pair(folder / "chain.pem", folder / "key.pem")


def test_a_good_certificate_says_who_and_until_when_and_whose(tmp_path):
    authority, stranger = new_authority(), new_authority()
    facts = examine(pair(tmp_path, signed(authority, URI)), parse_roots(pem((*stranger.roots, *authority.roots))))
    assert facts.names == (URI.value,)
    assert timedelta(hours=23) < facts.not_after - datetime.now(UTC) < timedelta(hours=25)
    public = authority.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert facts.issued_by == sha256(public).hexdigest()


@pytest.mark.parametrize("what", ["another root", "another key", "ended", "no chain", "garbage"])
def test_a_bad_certificate_is_found_out(tmp_path, what):
    authority = new_authority()
    life = timedelta(minutes=-1) if what == "ended" else timedelta(hours=1)
    files = pair(tmp_path, signed(authority, URI, life=life))
    roots = parse_roots(pem((new_authority() if what == "another root" else authority).roots))
    if what == "another key":
        files.key.write_bytes(mint()[0])
    elif what in {"no chain", "garbage"}:
        files.chain.write_bytes(
            b"" if what == "no chain" else b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
        )
    with pytest.raises(Unusable):
        examine(files, roots)


def test_a_bundle_has_each_root_with_its_digest():
    authorities = [new_authority() for _ in range(3)]
    bundle = b"# a comment\n" + pem([authority.certificate for authority in authorities]).replace(b"\n", b"\r\n")
    found = parse_roots(bundle)
    assert found.digests == tuple(
        sha256(authority.certificate.public_bytes(Encoding.DER)).hexdigest() for authority in authorities
    )


BEGIN, END = b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    "content",
    [b"", b"words", BEGIN, BEGIN + END, BEGIN + b"A" * 64 + b"\n" + END, BEGIN + b"\xff\n" + END, mint()[0]],
    ids=["empty", "words", "half", "nothing inside", "no certificate", "no ASCII", "a key"],
)
def test_what_is_no_bundle(content):
    with pytest.raises(Unusable):
        parse_roots(content)


@given(st.binary(max_size=400))
def test_whatever_stands_in_a_bundle_it_is_a_bundle_or_not(content):
    try:
        parse_roots(BEGIN + content + END)
    except Unusable:
        return
    raise AssertionError("random bytes made a certificate")


def test_a_bundle_of_very_many_is_refused():
    root = pem(new_authority().roots)
    with pytest.raises(Unusable, match="65 certificates"):
        parse_roots(root * 65)


# Keys


async def test_a_key_and_a_request_that_it_signed():
    one, other = await new_key(), await new_key()
    assert one != other
    request = x509.load_pem_x509_csr(one.request)
    assert request.is_signature_valid
    assert list(request.subject) == []
    key = load_pem_private_key(one.secret, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == "secp256r1"
    assert key.public_key() == request.public_key()


def test_secrets_are_not_shown():
    assert "PRIVATE" not in repr(Key(b"PRIVATE", b"")) + str(Stored(b"PRIVATE", b"", b""))


# Files


def test_each_generation_is_seen_whole_and_the_one_before_stays(tmp_path):
    writer = IdentityWriter(tmp_path / "a")
    writer.prepare()
    names = []
    for number in range(5):
        generation = Stored(*(f"{name}{number}".encode() for name in ("key", "chain", "roots")))
        staged = writer.stage(generation, NOW)
        assert number == 0 or writer.stored().key == f"key{number - 1}".encode()
        writer.show(staged)
        names.append(staged.name)
        assert writer.stored() == generation
        folders = {entry.name for entry in (tmp_path / "a/identity").iterdir() if entry.name.startswith("..2")}
        assert folders == set(names[-2:])


def test_one_that_was_no_good_leaves_nothing(tmp_path):
    writer = IdentityWriter(tmp_path / "a")
    writer.prepare()
    writer.drop(writer.stage(Stored(b"k", b"c", b"r"), NOW))
    assert list((tmp_path / "a/identity").iterdir()) == []
    with pytest.raises(FileNotFoundError):
        writer.stored()


@pytest.mark.parametrize("name", ["bootstrap.json", "sds-certificate.json", "a.json"])
def test_plain_names(name):
    assert _is_plain(name)


@pytest.mark.parametrize(
    "name",
    ["", ".json", "a", "../a.json", "a/b.json", "/a.json", ".a.json", "a.b.json", "a.json\0", "ä.json", "a b.json",
     "identity", "admin.sock", "x" * 65 + ".json", "a.JSON", "..json", "-.json\n"],
)  # fmt: skip
def test_other_names(name):
    assert not _is_plain(name)


# Envoy


def test_the_command_line_of_envoy():
    options = EnvoyOptions(binary="/envoy", concurrency=0, drain_seconds=45, log_level="info", component_log_level="")
    words = command(options)
    assert words[:3] == ("/envoy", "--config-path", "bootstrap.json")
    assert "--concurrency" not in words
    assert words[words.index("--drain-time-s") + 1] == "45"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exit status 0"),
        (1, "exit status 1"),
        (-9, "SIGKILL (out of memory?)"),
        (-11, "SIGSEGV"),
        (-200, "signal 200"),
    ],
)
def test_how_envoy_ended_in_words(status, words):
    assert describe(status) == words


@pytest.mark.parametrize(
    ("stats", "count"),
    [
        ('{"stats": []}', None),
        ('{"stats": [{"histograms": {}}]}', None),
        ('{"stats": [{"name": "listener.admin.downstream_cx_active", "value": 1}]}', None),
        ('{"stats": [{"name": "server.total_connections", "value": 3}]}', 3),
        (
            (
                '{"stats": [{"name": "listener.a.downstream_cx_active", "value": 2},'
                '{"name": "listener.a.worker_0.downstream_cx_active", "value": 2},'
                '{"name": "listener.b.downstream_cx_active", "value": 1},'
                '{"name": "server.total_connections", "value": 9}]}'
            ),
            3,
        ),
    ],
)
def test_connections_are_counted_once(stats, count):
    assert counted(stats.encode()) == count


def test_the_largest_bundle_is_what_a_configmap_holds():
    assert certificate.LARGEST == 1_048_576
