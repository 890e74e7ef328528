"""What agents get, over real HTTPS: the caller's name or nothing, whatever else they say."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from random import Random  # noqa: TID251  the same mutations each time
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from controlplane.base.identity import Identity
from controlplane.runtime.buckets import Rate
from controlplane.security.holders import Holder, root_ids, signer_id
from controlplane.security.issuing import STANDARD, Issued, Lifetimes
from tests.security.requests import CALLER, assert_as_meant, csr, forged
from tests.security.serving import NODE, leaf_of, new_key, served, when
from tests.tls import signed

VAULT = Identity("cluster.local", "bank", "vault")


async def test_a_token_gets_a_certificate_in_its_own_name_and_the_files_of_its_envoy(tmp_path):
    async with served(tmp_path) as world:
        key, now = new_key(), datetime.now(UTC)
        found = await world.issue(world.tokens.mint(CALLER), key, node=NODE)
        assert found.status == 200
        assert set(found.body) == {"chain", "notBefore", "notAfter", "files"}
        assert found.body["files"] == {"bootstrap.json": f"{CALLER.uri} {NODE['id']}"}
        issued = Issued(found.body["chain"].encode(), when(found.body["notBefore"]), when(found.body["notAfter"]))
        assert_as_meant(issued, CALLER, world.authorities.issuer, csr(key), STANDARD, now + timedelta(seconds=30))
        assert abs(issued.not_after - now - timedelta(hours=24)) < timedelta(seconds=30)


async def test_without_a_node_there_are_no_files(tmp_path):
    async with served(tmp_path) as world:
        assert set((await world.issue(world.tokens.mint(CALLER))).body) == {"chain", "notBefore", "notAfter"}


@pytest.mark.parametrize(("seconds", "granted"), [(3600, 3600), (-5, 60), (0, 60), (10**12, 86_400), (None, 86_400)])
async def test_lifetimes_are_clamped(tmp_path, seconds, granted):
    async with served(tmp_path) as world:
        more = {} if seconds is None else {"seconds": seconds}
        found = await world.issue(world.tokens.mint(CALLER), **more)
        left = (when(found.body["notAfter"]) - datetime.now(UTC)).total_seconds()
        assert granted - 30 < left <= granted


async def test_the_certificate_one_holds_renews_it_for_the_same_name(tmp_path):
    async with served(tmp_path) as world:
        own = await world.certified()
        found = await world.issue(None, own=own, node=NODE)
        assert found.status == 200
        names = leaf_of(found.body["chain"]).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert list(names) == [x509.UniformResourceIdentifier(CALLER.uri)]


@pytest.mark.parametrize("path", ["/v1/certificates", "/v1/reports"])
async def test_without_a_proof_there_is_nothing_and_a_body_is_not_looked_at(tmp_path, path):
    async with served(tmp_path) as world:
        for token in (None, "x" * 64, ""):
            found = await world.call("POST", path, b"[" * 10_000, token=token)
            assert found.status == 401, found
            assert found.body["why"] == "unauthenticated"


async def test_a_token_reports_nothing(tmp_path):
    async with served(tmp_path) as world:
        found = await world.call("POST", "/v1/reports", {}, token=world.tokens.mint(CALLER))
        assert found.status == 401


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        (b"", 400, "malformed"),
        (b"{}", 400, "malformed"),
        (b"[]", 400, "malformed"),
        (b'{"csr": 5}', 400, "malformed"),
        (b'{"csr": ""}', 400, "malformed"),
        (b'{"csr": "\xff"}', 400, "malformed"),
        (b'{"csr": "", "seconds": 1e400}', 400, "malformed"),
        (b'{"csr": "", "seconds": 99999999999999999999}', 400, "malformed"),
        (b'{"csr": "", "node": ' + b"[" * 100 + b"]" * 100 + b"}", 400, "malformed"),
        (b'{"csr": "", "node": {"id": "x", "other": 1}}', 400, "malformed"),
        (b'{"csr": "", "node": {"id": "' + b"x" * 2000 + b'"}}', 400, "malformed"),
        (b'{"csr": "' + b"x" * 70_000 + b'"}', 413, "malformed"),
        ({"csr": csr(rsa.generate_private_key(65537, 1024)).decode()}, 400, "key"),
        ({"csr": forged().decode()}, 400, "unproven"),
    ],
)  # fmt: skip
async def test_what_is_asked_wrongly_is_refused_in_words(tmp_path, body, status, why):
    async with served(tmp_path) as world:
        found = await world.call("POST", "/v1/certificates", body, token=world.tokens.mint(CALLER))
        assert (found.status, found.body["why"]) == (status, why)
        assert found.body["message"]


CLAIMS: dict[str, Any] = {
    "an id of another namespace": {**NODE, "id": "sidecar~10.0.0.7~web-7.bank~bank.svc.cluster.local"},
    "a domain of another namespace": {**NODE, "id": "sidecar~10.0.0.7~web-7.shop~bank.svc.cluster.local"},
    "a namespace that ours begins": {**NODE, "id": "sidecar~10.0.0.7~web-7.shop2~shop2.svc.cluster.local"},
    "metadata of another namespace": {**NODE, "metadata": {"NAMESPACE": "bank"}},
    "another account": {**NODE, "metadata": {"NAMESPACE": "shop", "SERVICE_ACCOUNT": "vault"}},
    "a list for an account": {**NODE, "metadata": {"SERVICE_ACCOUNT": ["web"]}},
    "no account": {**NODE, "metadata": {"SERVICE_ACCOUNT": None}},
}


@pytest.mark.parametrize("node", CLAIMS.values(), ids=CLAIMS)
async def test_a_node_that_claims_to_be_another_gets_nothing_at_all(tmp_path, node):
    async with served(tmp_path) as world:
        found = await world.issue(world.tokens.mint(CALLER), node=node)
        assert (found.status, found.body["why"]) == (403, "forbidden")


@pytest.mark.parametrize("node_id", ["", "web", "sidecar~1~2", "waypoint~10.0.0.7~web.shop~shop.svc.cluster.local"])
async def test_a_node_that_is_none_gets_nothing(tmp_path, node_id):
    async with served(tmp_path) as world:
        found = await world.issue(world.tokens.mint(CALLER), node={**NODE, "id": node_id})
        assert (found.status, found.body["why"]) == (400, "malformed")


async def test_an_identity_that_asks_too_often_waits_and_no_other_does(tmp_path):
    async with served(tmp_path, asks=Rate(burst=3, per_second=0.1)) as world:
        token, same = world.tokens.mint(CALLER), world.tokens.mint(CALLER)
        assert [(await world.issue(each)).status for each in (token, same, token)] == [200] * 3
        found = await world.issue(same)
        assert (found.status, found.body["why"]) == (429, "busy")
        assert 1 <= int(found.headers["Retry-After"]) <= 11
        assert (await world.issue(world.tokens.mint(VAULT))).status == 200


async def test_health_is_for_anybody_and_says_one_word(tmp_path):
    async with served(tmp_path) as world:
        assert (await world.call("GET", "/healthz/live"))[:2] == (200, "live")
        assert (await world.call("GET", "/healthz/ready"))[:2] == (200, "ready")
        world.is_ready = False
        assert (await world.call("GET", "/healthz/ready"))[:2] == (503, "starting")


async def test_nothing_else_answers(tmp_path):
    async with served(tmp_path) as world:
        paths = {(route.method, route.path) for route in world.server.routes}
        assert len(paths) == 4
        for path in ("/", "/v1", "/v1/certificates/", "/debug", "/metrics", "/v1/reports/x", "/healthz"):
            for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
                assert (await world.call(method, path)).status == 404
        for method, path in paths:
            other = "POST" if method == "GET" else "GET"
            assert (await world.call(other, path)).status == 405


async def test_a_report_says_who_trusts_what(tmp_path):
    async with served(tmp_path) as world:
        own = await world.certified()
        world.connected.append(Holder("shop", "web", NODE["id"]))
        roots = root_ids(world.authorities.roots.trusted)
        assert world.authorities.lacking() == ["web-7.shop"], "who has not reported has nothing, as far as we know"
        report = {
            "node": NODE["id"],
            "roots": sorted(roots),
            "issuedBy": spki_digest(world.authorities.issuer.certificate),
            "notAfter": "2099-01-01T00:00:00Z",
        }
        assert (await world.call("POST", "/v1/reports", report, own=own))[:2] == (200, {})
        assert world.authorities.lacking() == []
        assert world.authorities.holding() == []
        others = await world.certified(VAULT)
        found = await world.call("POST", "/v1/reports", report, own=others)
        assert (found.status, found.body["why"]) == (403, "forbidden"), "nobody reports for another namespace"


def spki_digest(certificate: x509.Certificate) -> str:
    public = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return sha256(public).hexdigest()


async def test_digests_are_as_agents_make_them(tmp_path):
    async with served(tmp_path) as world:
        authority = world.authorities.issuer
        assert signer_id(authority) == spki_digest(authority.certificate)
        der = authority.certificate.public_bytes(Encoding.DER)
        assert root_ids(authority.roots) == {sha256(der).hexdigest()}


@pytest.mark.parametrize(
    "change",
    [
        {"roots": "x"},
        {"roots": ["x" * 65]},
        {"roots": ["x"] * 65},
        {"notAfter": "tomorrow"},
        {"notAfter": "2099-01-01T00:00:00"},
        {"node": 7},
        {"node": "sidecar"},
    ],
)
async def test_a_report_that_is_none_is_refused(tmp_path, change):
    async with served(tmp_path) as world:
        own = await world.certified()
        report = {"node": NODE["id"], "roots": [], "issuedBy": "", "notAfter": "2099-01-01T00:00:00Z", **change}
        assert (await world.call("POST", "/v1/reports", report, own=own)).status == 400


async def test_a_strangers_certificate_is_no_connection(tmp_path):
    async with served(tmp_path) as world:
        stranger = signed("web", uri=CALLER.uri)
        with pytest.raises(OSError, match=r"."):
            await world.issue(None, own=(stranger.pem, stranger.key_pem))


@pytest.mark.point
async def test_mutated_requests_with_good_tokens_get_their_own_name_or_nothing(tmp_path, size, proved):
    """Point 4, over the wire: requests with parts changed, tokens that are nobody's, names that are others'."""
    random, lifetimes, asked, issued = Random(1848), Lifetimes(), size(200, 10_000, 50_000), 0
    keys = [new_key() for _ in range(4)]
    async with served(tmp_path) as world:
        callers = {world.tokens.mint(who): who for who in (CALLER, VAULT)}
        for _ in range(asked):
            token = random.choice([*callers, *callers, "x" * 64, random.choice(list(callers))[:-1]])
            request = _mutated(random, csr(random.choice(keys), _name(random)))
            body: dict[str, Any] = {"csr": request.decode("latin-1"), "seconds": random.choice([None, 60, 10**9, -1])}
            if random.random() < 0.5:
                body["node"] = random.choice([NODE, *CLAIMS.values()])
            found = await world.call("POST", "/v1/certificates", body, token=token)
            if found.status != 200:
                assert 400 <= found.status < 500, found
                continue
            issued += 1
            who = callers[token]
            assert "node" not in body or _is_of(body["node"], who)
            made = Issued(found.body["chain"].encode(), when(found.body["notBefore"]), when(found.body["notAfter"]))
            assert_as_meant(made, who, world.authorities.issuer, request, lifetimes, datetime.now(UTC))
    proved(
        "identity 4",
        "mutated requests to the authority's endpoint",
        bound="nothing issued that is not its caller's",
        figure=f"{issued} issued, each as meant",
        holds=issued > 0,
        cases=asked,
        asked=asked,
    )


def _is_of(node: Any, who: Identity) -> bool:
    claimed = {"NAMESPACE": who.namespace, "SERVICE_ACCOUNT": who.account, **node["metadata"]}
    right = claimed == {"NAMESPACE": who.namespace, "SERVICE_ACCOUNT": who.account}
    return right and node["id"].endswith(f".{who.namespace}~{who.namespace}.svc.cluster.local")


def _name(random: Random) -> x509.GeneralName:
    name = random.choice([CALLER.uri, VAULT.uri, "spiffe://cluster.local/ns/shop/sa/web/../../bank"])
    return random.choice([x509.UniformResourceIdentifier(name), x509.DNSName("bank.svc")])


def _mutated(random: Random, request: bytes) -> bytes:
    content = bytearray(request)
    for _ in range(random.choice([0, 0, 1, 2])):
        content[random.randrange(len(content))] = random.choice(b"ABCabc019+/=\n- ")
    return bytes(content)
