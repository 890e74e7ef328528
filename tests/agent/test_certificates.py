"""A workload's certificate: asked for, written so that Envoy can watch it, renewed, reported. Real processes, real TLS."""

import stat
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from tests.agent.agents import RunningAgent, running, wait_for
from tests.agent.endpoint import TOKEN, Behaviour, Endpoint, new_authority

DOCUMENTS = {"bootstrap.json": '{"a": 1}', "sds-certificate.json": "{}", "sds-roots.json": "{}"}


@pytest.fixture
def endpoint(tmp_path):
    with Endpoint(tmp_path, files=DOCUMENTS) as endpoint:
        yield endpoint


def chain_of(directory: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates((directory / "identity/cert-chain.pem").read_bytes())


def key_of(directory: Path) -> bytes:
    key = load_pem_private_key((directory / "identity/key.pem").read_bytes(), None)
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def public(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def generations(directory: Path) -> set[str]:
    return {entry.name for entry in (directory / "identity").iterdir() if entry.is_dir() and not entry.is_symlink()}


def issued(agent: RunningAgent, count: int = 1) -> list[dict]:
    return agent.said("certificate", count)


def test_the_first_certificate_comes_for_the_token_and_lies_where_envoy_looks(endpoint, tmp_path, idle_envoy):
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        assert agent.envoy_pid
        (asked,) = endpoint.certificates()
        assert (asked.by, asked.token) == ("token", TOKEN)
        assert asked.body["node"]["id"] == f"sidecar~{agent.address}~cart-1.shop~shop.svc.cluster.local"
        leaf, *above = chain_of(agent.directory)
        assert not above
        assert public(leaf) == key_of(agent.directory)
        assert (agent.directory / "identity/root-cert.pem").read_bytes() == endpoint.bundle.read_bytes()
        for name, content in DOCUMENTS.items():
            assert (agent.directory / name).read_text() == content
        identity = agent.directory / "identity"
        assert {name: (identity / name).readlink().name for name in ("key.pem", "cert-chain.pem", "root-cert.pem")} == {
            "key.pem": "key.pem", "cert-chain.pem": "cert-chain.pem", "root-cert.pem": "root-cert.pem"
        }  # fmt: skip
        assert str((identity / "key.pem").readlink()) == "..data/key.pem"
        assert {str((identity / "..data").readlink())} == generations(agent.directory)


def test_nobody_else_may_read_any_of_it(endpoint, tmp_path, idle_envoy):
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        assert agent.envoy_pid
        for path in (agent.directory, *agent.directory.rglob("*")):
            if not path.is_symlink():
                assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_each_renewal_has_a_new_key_and_shows_the_certificate_it_replaces(endpoint, tmp_path, idle_envoy):
    endpoint.life = 8.0
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        issued(agent, 3)
        asked = endpoint.certificates()
        assert [one.by for one in asked[:3]] == ["token", "certificate", "certificate"]
        assert len({one.body["csr"] for one in asked}) == len(asked)
        assert len(generations(agent.directory)) == 2


def test_a_certificate_is_renewed_at_half_its_life(endpoint, tmp_path, idle_envoy):
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        (first,) = issued(agent)
        due = datetime.fromisoformat(first["next"])
        assert timedelta(minutes=26) < due - datetime.now(UTC) < timedelta(minutes=34)


@pytest.mark.parametrize(("account", "said"), [("cart", 0), ("other", 1)])
def test_another_name_than_the_pods_is_told(endpoint, tmp_path, idle_envoy, account, said):
    """A token of another account, say. Who we are is the control plane's to say, so the certificate counts."""
    named = partial(running, trust_domain="cluster.local", service_account=account)
    with named(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        issued(agent)
        assert len(agent.events("the certificate is made out to somebody else")) == said


def test_what_was_written_is_reported(endpoint, tmp_path, idle_envoy):
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        report = endpoint.wait_for_reports(1)
        assert report.by == "certificate"
        root = endpoint.authority.certificate
        (leaf,) = chain_of(agent.directory)
        assert report.body == {
            "node": f"sidecar~{agent.address}~cart-1.shop~shop.svc.cluster.local",
            "roots": [sha256(root.public_bytes(Encoding.DER)).hexdigest()],
            "issuedBy": sha256(public(root)).hexdigest(),
            "notAfter": f"{leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        }


def test_a_token_that_was_replaced_is_read_anew(endpoint, tmp_path, idle_envoy):
    endpoint.life = 8.0
    endpoint.takes_certificates = False
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        issued(agent)
        endpoint.tokens = {"another.one": endpoint.tokens[TOKEN]}
        endpoint.token.write_text("another.one\n")
        issued(agent, 2)
        assert [one.by for one in endpoint.certificates()[:3]] == ["token", "certificate", "token"]
        assert endpoint.certificates()[-1].token == "another.one"


def test_a_server_that_breaks_off_at_the_sight_of_a_certificate_gets_the_token(endpoint, tmp_path, idle_envoy):
    """One whose trust bundle has lost the root of what we hold; with TLS 1.3 it says so after the handshake."""
    endpoint.life = 4.0
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        issued(agent)
        new = new_authority()
        endpoint.write_bundle(new)
        endpoint.authority = new
        issued(agent, 2)
        (leaf,) = chain_of(agent.directory)
        assert leaf.issuer == new.certificate.subject
        leaf.verify_directly_issued_by(new.certificate)
        assert endpoint.certificates()[-1].by == "token"


def test_without_a_token_the_certificate_alone_counts(endpoint, tmp_path, idle_envoy):
    endpoint.life = 60.0
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        issued(agent)
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy, token_file="") as agent:
        issued(agent)
        assert endpoint.certificates()[-1].by == "certificate"
    with running(endpoint, tmp_path / "another", envoy=idle_envoy, token_file="") as agent:
        (said,) = agent.said("no new certificate, trying on")
        assert "no token" in said["error"]
        assert not agent.events("Envoy started")


def test_a_changed_bootstrap_is_written_and_said_and_envoy_goes_on(endpoint, tmp_path, idle_envoy):
    endpoint.life = 3.0
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        pid = agent.envoy_pid
        endpoint.files = {**DOCUMENTS, "bootstrap.json": '{"a": 2}'}
        agent.said("the bootstrap changed: it counts when Envoy is started next")
        assert (agent.directory / "bootstrap.json").read_text() == '{"a": 2}'
        issued(agent, 3)
        assert [event["pid"] for event in agent.events("Envoy started")] == [pid]
        assert len(agent.events("the bootstrap changed: it counts when Envoy is started next")) == 1


def test_a_new_bundle_is_a_new_generation_at_once_with_the_same_key(endpoint, tmp_path, idle_envoy):
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        endpoint.wait_for_reports(1)
        key, chain = key_of(agent.directory), chain_of(agent.directory)
        new = new_authority()
        endpoint.write_bundle(endpoint.authority, new)
        report = endpoint.wait_for_reports(2)
        assert (agent.directory / "identity/root-cert.pem").read_bytes() == endpoint.bundle.read_bytes()
        assert (key_of(agent.directory), chain_of(agent.directory)) == (key, chain)
        assert len(report.body["roots"]) == 2
        assert len(endpoint.certificates()) == 1


def test_who_loses_the_meshs_trust_loses_ours_at_once_and_another_certificate_is_asked_for(
    endpoint, tmp_path, idle_envoy
):
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        endpoint.wait_for_reports(1)
        new = new_authority()
        endpoint.authority = new
        endpoint.write_bundle(new)
        issued(agent, 2)
        (leaf,) = chain_of(agent.directory)
        leaf.verify_directly_issued_by(new.certificate)


@pytest.mark.parametrize("content", [b"", b"half a cert", b"-----BEGIN CERTIFICATE-----\nMIIB", b"\xff" * 2_000_000])
def test_a_bundle_that_is_none_changes_nothing_and_is_said_once(endpoint, tmp_path, idle_envoy, content):
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        issued(agent)
        good = endpoint.bundle.read_bytes()
        endpoint.bundle.write_bytes(content)
        agent.said("trust bundle not usable")
        assert (agent.directory / "identity/root-cert.pem").read_bytes() == good
        endpoint.bundle.write_bytes(good)
        new = new_authority()
        endpoint.write_bundle(endpoint.authority, new)
        agent.said("trust bundle")
        assert len(agent.events("trust bundle not usable")) == 1


def test_a_bundle_that_comes_late_is_waited_for(endpoint, tmp_path, idle_envoy):
    good = endpoint.bundle.read_bytes()
    endpoint.bundle.unlink()
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        agent.said("trust bundle not usable")
        wait_for(lambda: "No such file" in agent.readiness()[1], lambda: str(agent.readiness()))
        endpoint.bundle.write_bytes(good)
        issued(agent)


def test_an_agent_that_is_started_again_goes_on_with_what_it_had_while_the_control_plane_is_away(
    endpoint, tmp_path, idle_envoy
):
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        issued(agent)
    chain = chain_of(agent.directory)
    endpoint.down()
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        assert agent.envoy_pid
        assert chain_of(agent.directory) == chain
        endpoint.up()
        issued(agent)
        assert endpoint.certificates()[-1].by == "certificate"


def test_a_workload_that_is_refused_does_not_start_with_what_it_had(endpoint, tmp_path, idle_envoy):
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        issued(agent)
    endpoint.tokens = {}
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        agent.said("no new certificate, trying on")
        assert agent.readiness()[0] == 503
        endpoint.wait_for(lambda: len(endpoint.certificates()) >= 4, "two more tries")
        assert not agent.events("Envoy started")


def test_a_certificate_from_before_that_has_ended_is_of_no_use(endpoint, tmp_path, idle_envoy):
    endpoint.life = 2.0
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        issued(agent)
        endpoint.down()
        wait_for(lambda: chain_of(agent.directory)[0].not_valid_after_utc < datetime.now(UTC), "its end")
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        (said, *_) = agent.said("the certificate from before is of no use")
        assert "expired" in said["error"]
        assert not agent.events("Envoy started")


def test_behind_all_of_it_is_nothing_left_over_from_a_crash(endpoint, tmp_path, idle_envoy):
    identity = tmp_path / "agent" / "identity"
    identity.mkdir(parents=True)
    (identity / "..2026_01_01_00_00_00.000000").mkdir()
    (identity / "..2026_01_01_00_00_00.000000" / "key.pem").write_text("half")
    (identity / "..data_tmp").symlink_to("nowhere")
    (tmp_path / "agent" / ".bootstrap.json.new").write_text("half")
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        assert agent.envoy_pid
        assert not (identity / "..2026_01_01_00_00_00.000000").exists()
        assert sorted(path.name for path in identity.iterdir() if not path.name.startswith("..2")) == [
            "..data", "cert-chain.pem", "key.pem", "root-cert.pem"
        ]  # fmt: skip


def test_several_intermediates_lead_to_the_root(endpoint, tmp_path, idle_envoy):
    """As a plugged-in authority has them: the chain's second certificate is the issuer that is reported."""
    root, between = endpoint.authority, endpoint.become_intermediate()
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        report = endpoint.wait_for_reports(1)
        leaf, above = chain_of(agent.directory)
        assert above == between.certificate
        leaf.verify_directly_issued_by(above)
        assert report.body["issuedBy"] == sha256(public(between.certificate)).hexdigest()
        assert report.body["roots"] == [sha256(root.certificate.public_bytes(Encoding.DER)).hexdigest()]


def test_an_end_in_less_than_the_agents_patience_is_still_met(endpoint, tmp_path, idle_envoy):
    """The back-off yields to an end that is near: down for a good part of a life, and back in time."""
    endpoint.life = 10.0
    with running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        issued(agent)
        ends = chain_of(agent.directory)[0].not_valid_after_utc
        endpoint.behaviour = Behaviour(status=503)
        wait_for(lambda: datetime.now(UTC) > ends - timedelta(seconds=4), "most of its life")
        endpoint.behaviour = Behaviour()
        issued(agent, 2)
        assert datetime.now(UTC) < ends
