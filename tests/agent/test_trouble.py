"""A control plane that is away, busy, slow or wrong: what is held stays, it is asked again, and that is said once."""

import json

import pytest

from tests.agent.agents import running
from tests.agent.bootstraps import documents
from tests.agent.endpoint import Behaviour, Endpoint, new_authority
from tests.envoys.upstreams import loopback_address

TRYING = "no new certificate, trying on"


@pytest.fixture
def endpoint(tmp_path):
    with Endpoint(tmp_path, life=4.0) as endpoint:
        yield endpoint


def http(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def without(key: str):
    return lambda answer: {name: value for name, value in answer.items() if name != key}


def instead(**fields):
    return lambda answer: {**answer, **fields}


WRONG = {
    "nothing at all": Behaviour(raw=b""),
    "no HTTP": Behaviour(raw=b"220 mail.test ESMTP\r\n"),
    "half an answer": Behaviour(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
    "a head without end": Behaviour(raw=b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000),
    "no JSON": Behaviour(raw=http(b"<html>")),
    "another kind of JSON": Behaviour(raw=http(b"[1, 2]")),
    "not UTF-8": Behaviour(raw=http(b'{"chain": "\xff\xfe"}')),
    "deep": Behaviour(raw=http(b"[" * 100_000)),
    "huge": Behaviour(raw=http(b'{"chain": "' + b"x" * 3_000_000 + b'"}')),
    "endless": Behaviour(
        raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 40
    ),
    "no chain": Behaviour(change=without("chain")),
    "an empty chain": Behaviour(change=instead(chain="")),
    "a chain of something else": Behaviour(change=instead(chain="-----BEGIN CERTIFICATE-----\nAAAA\n-----END")),
    "a way out of the directory": Behaviour(change=instead(files={"../out.json": "{}"})),
    "a file over ours": Behaviour(change=instead(files={"identity": "{}"})),
    "an absolute file": Behaviour(change=instead(files={"/tmp/out.json": "{}"})),
    "a hidden file": Behaviour(change=instead(files={".bootstrap.json": "{}"})),
    "too many files": Behaviour(change=instead(files={f"a{number}.json": "" for number in range(100)})),
    "files that are none": Behaviour(change=instead(files={"bootstrap.json": {"a": 1}})),
    "a redirect": Behaviour(raw=http(b"", b"Location: http://127.0.0.1:1/", status=b"302 Found")),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_answer_that_is_none_changes_nothing(endpoint, tmp_path, idle_envoy, what):
    endpoint.life = 3600.0
    endpoint.behaviour = WRONG[what]
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        agent.said(TRYING)
        assert not list((tmp_path / "agent" / "identity").iterdir())
        assert {path.name for path in tmp_path.rglob("*.json")} <= {"bootstrap.json"}
        endpoint.behaviour = Behaviour()
        agent.said("certificate")
        assert len(agent.events(TRYING)) == 1
        assert agent.memory() < 40 * 1024


def test_a_certificate_for_another_key_is_not_taken(endpoint, tmp_path, idle_envoy):
    kept: list[dict] = []

    def the_first_again(answer: dict) -> dict:
        kept.append(answer)
        return kept[0]

    endpoint.behaviour = Behaviour(change=the_first_again)
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        agent.said("certificate")
        (said,) = agent.said(TRYING)
        assert "not for the key" in said["error"]
        chain = (tmp_path / "agent" / "identity" / "cert-chain.pem").read_text()
        assert chain == kept[0]["chain"]


def test_a_certificate_of_an_authority_that_the_bundle_lacks_is_not_taken(endpoint, tmp_path, idle_envoy):
    """Its peers would refuse it: the bundle is the first thing that a rotation changes."""
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        agent.said("certificate")
        before = (tmp_path / "agent" / "identity" / "cert-chain.pem").read_bytes()
        good, stranger = endpoint.authority, new_authority()
        endpoint.issuer = stranger
        (said,) = agent.said(TRYING)
        assert "does not lead to a root" in said["error"]
        assert (tmp_path / "agent" / "identity" / "cert-chain.pem").read_bytes() == before
        endpoint.issuer = good
        agent.said("certificates are issued again")


def test_a_server_that_is_not_the_control_plane_gets_no_token(endpoint, tmp_path, idle_envoy):
    """Another authority's; or ours, with another name."""
    with Endpoint(tmp_path / "other", life=3600.0) as other:
        with running(other, tmp_path / "agent", envoy=idle_envoy, roots=str(endpoint.bundle)) as agent:
            (said,) = agent.said(TRYING)
            assert "CERTIFICATE_VERIFY_FAILED" in said["error"]
        with running(other, tmp_path / "agent", envoy=idle_envoy, server_name="another.svc") as agent:
            (said,) = agent.said(TRYING)
            assert "another.svc" in said["error"]
        assert other.asked == []


def test_a_control_plane_that_is_away_and_comes_back(endpoint, tmp_path, idle_envoy):
    endpoint.life = 8.0
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        agent.said("certificate")
        before = (tmp_path / "agent" / "identity" / "cert-chain.pem").read_bytes()
        endpoint.down()
        agent.said(TRYING, seconds=20)
        assert (tmp_path / "agent" / "identity" / "cert-chain.pem").read_bytes() == before
        endpoint.up()
        agent.said("certificates are issued again")
        assert len(agent.events(TRYING)) == 1
        assert len(agent.events("Envoy started")) == 1


def test_readiness_tells_of_a_control_plane_that_is_away_and_stays(endpoint, tmp_path):
    address = loopback_address()
    endpoint.files, endpoint.life = documents(address, 8443), 6.0
    with running(endpoint, tmp_path / "agent", address=address) as agent:
        agent.wait_until_ready()
        assert agent.readiness() == (200, "ready")
        endpoint.behaviour = Behaviour(status=503)
        agent.said(TRYING)
        status, words = agent.readiness()
        assert status == 200
        assert "no new certificate since" in words


@pytest.mark.parametrize(("status", "headers"), [(429, "Retry-After: 3\r\n")])
def test_who_is_asked_to_wait_waits(endpoint, tmp_path, idle_envoy, status, headers):
    endpoint.behaviour = Behaviour(status=status, headers=headers)
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        endpoint.wait_for(lambda: len(endpoint.certificates()) == 2, "the second try")
        first, second = endpoint.certificates()
        assert 2.9 < (second.at - first.at).total_seconds() < 5
        endpoint.behaviour = Behaviour()
        agent.said("certificate")


def test_one_that_does_not_answer_is_left_after_some_seconds(endpoint, tmp_path, idle_envoy):
    endpoint.behaviour = Behaviour(hang=True)
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        (said,) = agent.said(TRYING, seconds=20)
        assert "no answer within 10 s" in said["error"]
        endpoint.behaviour = Behaviour()
        agent.said("certificate")


def test_a_report_is_sent_until_it_is_taken(endpoint, tmp_path, idle_envoy):
    endpoint.life = 3600.0
    endpoint.takes_certificates = False
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy):
        endpoint.wait_for(lambda: sum(one.path == "/v1/reports" for one in endpoint.asked) >= 2, "two tries")
        assert endpoint.reports == []
        endpoint.takes_certificates = True
        assert json.dumps(endpoint.wait_for_reports(1).body)


def test_a_token_that_is_none_is_not_sent(endpoint, tmp_path, idle_envoy):
    endpoint.token.write_text("two words\r\nX-Injected: yes")
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        (said,) = agent.said(TRYING)
        assert "holds no token" in said["error"]
        assert endpoint.asked == []
