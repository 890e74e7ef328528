"""One question for keys: what is asked, what never is, and what comes of answers that mean no good.

Servers are real, on loopback. A part of it stands for the public network, because a setting allows it; the rest is
what the control plane must not be led to.
"""

import json
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import ip_address
from time import monotonic
from typing import Any

import pytest

from controlplane.model.jwks import read
from controlplane.model.jwksuri import discovery_uri
from controlplane.sources.keys import fetching
from controlplane.sources.keys.fetching import FetchError, KeyFetcher, may_be_asked
from tests.conftest import Proved
from tests.envoys.certificates import root_certificate
from tests.envoys.keyserver import Answer, KeyServer, dripping, endless, saying
from tests.tokens import jwks, key

KEYS = jwks(key().jwk(kid="1", alg="ES256", use="sig"))
USED = json.dumps({"keys": [key().jwk(kid="1", alg="ES256")]})
PUBLIC = "127.64.0.1"  # what a setting allows
INSIDE = "127.0.0.1"  # what nobody may be led to
ALLOWED = ("127.64.0.0/16",)
GIBIBYTE = 1 << 30


def at(*addresses: str) -> Callable[[str, int], Awaitable[list[str]]]:
    """A DNS that answers this to each question, the last of them for ever: all addresses of one answer by "+"."""
    answers = iter(addresses)
    last = addresses[-1]

    async def resolve(_host: str, _port: int) -> list[str]:
        return next(answers, last).split("+")

    return resolve


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=root_certificate())


async def fetched(server: KeyServer, *addresses: str, path: str = "/keys", scheme: str = "http", **how: Any) -> str:
    how = {"resolve": at(*(addresses or (PUBLIC,))), **how}
    return await KeyFetcher(lambda: ALLOWED, **how)(f"{scheme}://issuer.example.com:{server.address[1]}{path}")


async def refused(server: KeyServer, *addresses: str, **how: Any) -> str:
    with pytest.raises(FetchError) as error:
        await fetched(server, *addresses, **how)
    return str(error.value)


def public(answer: Answer, *names: str) -> KeyServer:
    return KeyServer(answer, host=PUBLIC, names=names)


async def test_keys_are_read_and_only_what_was_understood_of_them_goes_on() -> None:
    with public(saying(KEYS)) as server:
        found = await fetched(server)
        assert json.loads(found) == json.loads(USED)
        assert server.paths == ["/keys"]


async def test_over_tls_the_server_proves_the_name_that_was_asked() -> None:
    with public(saying(KEYS), "issuer.example.com") as server:
        assert await fetched(server, scheme="https", tls=trusting())
        assert "cannot be asked" in await refused(server, scheme="https")  # by an authority nobody knows
    with public(saying(KEYS), "elsewhere.example.com") as server:
        assert "cannot be asked" in await refused(server, scheme="https", tls=trusting())
        assert server.paths == []


# Row 15: where we are led


@pytest.mark.parametrize(
    "address", [INSIDE, f"{PUBLIC}+{INSIDE}", f"{INSIDE}+{PUBLIC}", "::1", "10.1.2.3", "169.254.169.254"]
)
async def test_a_name_that_leads_inside_is_not_followed(address: str) -> None:
    with KeyServer(saying(KEYS), host=INSIDE) as inside:
        assert "not public" in await refused(inside, address)
        assert inside.paths == []


async def test_a_name_that_leads_elsewhere_a_moment_later_leads_nowhere() -> None:
    """DNS rebinding: the first answer is fine, every later one is what the attacker is after."""
    with both_with_one_port() as (outside, inside):
        assert "no key set" in await refused(outside, PUBLIC, INSIDE)  # the answer came from outside
        assert "not public" in await refused(outside, INSIDE)
        assert (outside.paths, inside.paths) == (["/keys"], [])


@contextmanager
def both_with_one_port() -> Iterator[tuple[KeyServer, KeyServer]]:
    """Servers at the public address and at the one inside; others on this machine take ports, too."""
    with ExitStack() as stack:
        while True:
            outside = public(saying("public"))
            stack.enter_context(outside)
            with suppress(OSError):
                inside = KeyServer(saying(KEYS), host=INSIDE, port=outside.address[1])
                stack.enter_context(inside)
                break
        yield outside, inside


async def test_redirects_are_not_followed() -> None:
    with KeyServer(saying(KEYS), host=INSIDE) as inside:
        location = f"http://{INSIDE}:{inside.address[1]}/keys"
        for status in (301, 302, 303, 307, 308):
            with public(saying("", status=status, location=location)) as server:
                assert "redirects are not followed" in await refused(server)
        assert inside.paths == []


async def test_a_chain_of_redirects_ends_with_its_first() -> None:
    with public(saying("")) as server:
        server.answer = saying("", status=301, location=f"http://issuer.example.com:{server.address[1]}/next")
        await refused(server)
        assert server.paths == ["/keys"]


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1/", "http://localhost/", "http://[::1]/", "http://0x7f.1/", "ftp://a.example/", "no uri"]
)
async def test_places_nobody_is_sent_to_are_not_even_looked_up(uri: str) -> None:
    async def resolve(host: str, _: int) -> list[str]:
        raise AssertionError(host)

    with pytest.raises(FetchError):
        await KeyFetcher(lambda: ("0.0.0.0/0", "::/0"), resolve=resolve)(uri)


_NOT_EVERYBODYS = """
    127.0.0.1 ::1 0.0.0.0 :: ::ffff:127.0.0.1 169.254.169.254 fe80::1 10.0.0.1 172.16.0.1 192.168.1.1
    100.64.0.1 fd00::1 fd00:ec2::254 100.100.100.200 192.0.0.192 224.0.0.1 ff02::1 64:ff9b::7f00:1
    2002:7f00:1:: 255.255.255.255
"""


@pytest.mark.parametrize("address", _NOT_EVERYBODYS.split())
def test_addresses_that_are_not_everybodys(address: str) -> None:
    assert not may_be_asked(ip_address(address), [])


def test_addresses_that_are() -> None:
    assert all(may_be_asked(ip_address(one), []) for one in ("8.8.8.8", "2001:4860:4860::8888"))


# What they answer


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (saying("", status=500), "500"),
        (saying(KEYS, status=404), "404"),
        (saying("secret of a neighbour"), "no key set"),
        (saying('{"keys": [{"kty": "secret of a neighbour"}]}'), "no key set"),
        (saying('{"keys": []}'), "no key set"),
        (saying('{"keys": [{"kty": "oct", "k": "c2VjcmV0IG9mIGEgbmVpZ2hib3Vy"}]}'), "no key set"),
        (saying("[" * 60_000), "no key set"),
        (saying(b"\xff\xfe"), "no key set"),
        (saying(KEYS, encoding="gzip"), "compressed"),
        (saying(" " * 65_537), "more than 65536"),
        (saying(KEYS + " " * 70_000), "more than 65536"),
    ],
)  # fmt: skip
async def test_answers_that_are_of_no_use(answer: Answer, why: str) -> None:
    """And nothing of what they say is told: whoever made us ask could read it."""
    with public(answer) as server:
        said = await refused(server)
    assert why in said
    assert "secret" not in said


async def test_secrets_that_are_published_sign_nothing() -> None:
    with public(saying(jwks(key("HS256").jwk(), key().jwk()))) as server:
        assert await fetched(server) == read(jwks(key().jwk())).text


async def test_nobody_is_asked_by_way_of_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with public(saying(KEYS)) as server:
        assert await fetched(server)


@pytest.mark.point
@pytest.mark.parametrize("declared", [True, False])
async def test_ten_gibibytes(*, declared: bool, proved: Proved) -> None:
    """As much as is sent before the caller hangs up is what the sockets hold, not what the issuer has."""
    with public(endless(10 * GIBIBYTE, declared=declared)) as server:
        began = monotonic()
        said = await refused(server)
        seconds = monotonic() - began
    proved(
        "identity 7", f"keys of 10 GiB, {'declared' if declared else 'chunk by chunk'}: read before the answer is dropped",
        bound="64 KiB, 5 s", figure=f"{said}, {seconds:.2f} s", holds="more than 65536" in said and seconds < 5, cases=1, asked=1,
    )  # fmt: skip


async def test_an_answer_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "SECONDS", 0.3)
    end = threading.Event()
    with public(dripping(end)) as server:
        assert "no whole answer" in await refused(server)
    end.set()


async def test_a_name_that_is_never_resolved_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "SECONDS", 0.1)
    with public(saying(KEYS)) as server:
        assert "no whole answer" in await refused(server, resolve=_never)


async def _never(_host: str, _port: int) -> list[str]:
    import asyncio  # noqa: PLC0415

    await asyncio.Event().wait()
    raise AssertionError


async def test_a_name_that_does_not_exist() -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        raise OSError

    with public(saying(KEYS)) as server:
        assert "cannot be resolved" in await refused(server, resolve=resolve)


# Discovery

WELL_KNOWN = "/.well-known/openid-configuration"


@pytest.fixture
def issuer() -> Iterator[KeyServer]:
    """Says where its keys are, and has them there."""
    with public(saying(KEYS)) as server:
        base = f"http://issuer.example.com:{server.address[1]}"
        configuration = {"issuer": f"{base}/", "jwks_uri": f"{base}/certs", "token_endpoint": f"{base}/token"}

        def answer(request: Any) -> None:
            saying(json.dumps(configuration) if request.path == WELL_KNOWN else KEYS)(request)

        server.answer = answer
        yield server


async def test_an_issuer_is_asked_where_its_keys_are(issuer: KeyServer) -> None:
    assert json.loads(await fetched(issuer, path=WELL_KNOWN)) == json.loads(USED)
    assert issuer.paths == [WELL_KNOWN, "/certs"]


@pytest.mark.parametrize(
    "configuration",
    [
        "{}",
        KEYS,
        '{"issuer": "https://another.example.com", "jwks_uri": "http://issuer.example.com/certs"}',
        '{"issuer": "ISSUER", "jwks_uri": "http://127.0.0.1:1/certs"}',
        '{"issuer": "ISSUER", "jwks_uri": "file:///etc/passwd"}',
        '{"issuer": "ISSUER", "jwks_uri": "http://issuer.example.com:1/.well-known/openid-configuration"}',
    ],
)  # fmt: skip
async def test_what_an_issuer_says_of_its_keys_is_as_little_believed(configuration: str) -> None:
    with public(saying("")) as server:
        base = f"http://issuer.example.com:{server.address[1]}"
        server.answer = saying(configuration.replace("ISSUER", base))
        await refused(server, path=WELL_KNOWN)
        assert server.paths == [WELL_KNOWN]


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_the_keys_of_an_issuer_with_tls_are_behind_tls(scheme: str) -> None:
    with public(saying(""), "issuer.example.com") as server:
        host = f"issuer.example.com:{server.address[1]}"
        configuration = json.dumps({"issuer": f"https://{host}", "jwks_uri": f"{scheme}://{host}/certs"})

        def answer(request: Any) -> None:
            saying(configuration if request.path == WELL_KNOWN else KEYS)(request)

        server.answer = answer
        how: dict[str, Any] = {"path": WELL_KNOWN, "scheme": "https", "tls": trusting()}
        if scheme == "https":
            assert await fetched(server, **how)
        else:
            assert "without TLS" in await refused(server, **how)


def test_issuers_that_can_be_asked() -> None:
    assert discovery_uri("https://a.example.com/realms/x/") == f"https://a.example.com/realms/x{WELL_KNOWN}"
    assert discovery_uri("http://a.example.com") == ""
    assert discovery_uri("accounts@example.com") == ""
    assert discovery_uri("https://127.0.0.1") == ""
