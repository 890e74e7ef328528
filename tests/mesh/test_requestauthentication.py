"""Which tokens a workload believes: places, who reads them, who has the last word, and what rules take from each other."""

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from controlplane.ir.tokens import IssuerKeys, Locations, RemoteKeys, TokenHeader, Tokens
from controlplane.mesh.requestauthentication import fetched_uris, own_problems, tokens
from controlplane.model.fetchedkeys import FetchedKeys
from controlplane.model.jwksuri import KeyLocation
from controlplane.model.problem import Level, Problem
from controlplane.model.requestauthentication import RequestAuthentication
from controlplane.model.settings import JwksResolver
from tests.mesh.manifests import manifest
from tests.tokens import jwks, key

KEYS = jwks(key())
USUAL = Locations((TokenHeader("authorization", "Bearer "),), ("access_token",))


class Servers:
    """Every host is called by its own name. `known`: what the control plane was told, if it is the one who asks."""

    def __init__(self, known: Mapping[str, FetchedKeys] | None = None) -> None:
        self._known = known or {}
        self.discovers = known is not None

    def cluster(self, location: KeyLocation, namespace: str) -> str:
        asked_by_us = self.discovers and not location.host.endswith(".mesh")
        return "" if asked_by_us else f"{namespace}:{location.host}:{location.port}"

    def fetched(self, uri: str) -> FetchedKeys:
        return self._known.get(uri, FetchedKeys(failure="nobody has asked yet"))


def policy(*rules: dict[str, Any], name: str = "p", namespace: str = "default") -> RequestAuthentication:
    """With keys where none are given."""
    spec = {"jwtRules": [rule if "jwksUri" in rule else {"jwks": KEYS, **rule} for rule in rules]}
    return written(yaml.safe_dump({"spec": spec}), name=name, namespace=namespace)


def written(body: str, *, name: str = "p", namespace: str = "default") -> RequestAuthentication:
    kind = "RequestAuthentication"
    found: RequestAuthentication = manifest("security.istio.io/v1", kind, body, name=name, namespace=namespace)
    return found


def read(*policies: RequestAuthentication) -> Tokens:
    found, _ = tokens(policies, Servers())
    assert found is not None
    return found


def problems(*policies: RequestAuthentication) -> list[Problem]:
    return list(tokens(policies, Servers())[1])


def names(found: Tokens) -> list[list[str]]:
    return [[reader.name for reader in place.readers] for place in found.places]


def headers(*names: str, prefix: str = "") -> list[dict[str, str]]:
    return [{"name": name, "prefix": prefix} for name in names]


def test_no_rule_no_tokens() -> None:
    assert tokens([], Servers()) == (None, ())
    assert tokens([policy()], Servers()) == (None, ())


def test_a_rule_is_one_place_where_tokens_usually_are() -> None:
    (place,) = read(policy({"issuer": "a"})).places
    (reader,) = place.readers
    assert not place.required
    assert (reader.name, reader.issuer, reader.locations) == ("default/p/0", "a", USUAL)
    assert isinstance(reader.keys, IssuerKeys)
    assert reader.word_lists == ("permission", "scope")


def test_all_that_is_said_of_a_rule_is_in_its_reader() -> None:
    (place,) = read(
        policy(
            {
                "issuer": "a",
                "audiences": ["x", "y"],
                "jwksUri": "https://keys.example.com/a",
                "fromHeaders": headers("X-Token", prefix="T "),
                "fromParams": ["p"],
                "fromCookies": ["c"],
                "outputPayloadToHeader": "x-payload",
                "outputClaimToHeaders": [{"header": "x-user", "claim": "user.name"}],
                "forwardOriginalToken": True,
                "timeout": "2s",
                "spaceDelimitedClaims": ["groups"],
                "presence": "REQUIRED",
            }
        )
    ).places
    (reader,) = place.readers
    assert place.required
    assert reader.audiences == ("x", "y")
    assert reader.locations == Locations((TokenHeader("x-token", "T "),), ("p",), ("c",))
    assert isinstance(reader.keys, RemoteKeys)
    assert (reader.keys.cluster, reader.keys.timeout.seconds) == ("default:keys.example.com:443", 2)
    assert (reader.forward, reader.payload_header) == (True, "x-payload")
    assert reader.claim_headers == (("x-user", "user.name"),)
    assert reader.word_lists == ("groups", "permission", "scope")


def test_issuers_who_read_the_same_share_a_place() -> None:
    mesh = policy({"issuer": "a"}, namespace="istio-system")
    assert names(read(mesh, policy({"issuer": "b"}))) == [["istio-system/p/0", "default/p/0"]]


def test_what_only_one_of_them_reads_is_a_place_of_its_own() -> None:
    """Otherwise a good token in one header would let a bad one in the other header pass."""
    found = read(policy({"issuer": "a"}, {"issuer": "b", "fromHeaders": headers("Authorization", "x-b")}))
    assert names(found) == [
        ["default/p/1/header x-b"],
        ["default/p/0/parameter access_token"],
        ["default/p/0/header authorization", "default/p/1/header authorization"],
    ]
    assert [place.locations for place in found.places] == [
        Locations((TokenHeader("x-b"),)),
        Locations(params=("access_token",)),
        Locations((TokenHeader("authorization", "Bearer "), TokenHeader("authorization"))),
    ]


def test_the_first_rule_has_the_last_word() -> None:
    first = {"issuer": "a", "fromCookies": ["a"], "presence": "REQUIRED"}
    second = {"issuer": "b", "fromCookies": ["b"], "presence": "REQUIRED"}
    third, fourth = {"issuer": "c", "fromCookies": ["c"]}, {"issuer": "d", "fromCookies": ["d"]}
    found = read(policy(first, third, second, fourth))
    assert names(found) == [["default/p/3"], ["default/p/1"], ["default/p/2"], ["default/p/0"]]


def test_a_rule_that_demands_a_token_has_its_locations_to_itself() -> None:
    demanding = policy({"issuer": "a", "presence": "REQUIRED"}, namespace="istio-system")
    other = policy({"issuer": "b", "fromHeaders": headers("authorization", "x-b")})
    first, second = read(demanding, other).places
    assert first.locations == Locations((TokenHeader("x-b"),))
    assert (second,) == read(demanding).places
    (problem,) = problems(demanding, other)
    assert (problem.code, problem.level, problem.origin.ref.namespace) == ("Conflicted", Level.WARNING, "default")
    assert "header authorization" in problem.message


def test_two_rules_cannot_demand_different_tokens_in_one_place() -> None:
    found = problems(policy({"issuer": "a", "presence": "REQUIRED"}, {"issuer": "b", "presence": "REQUIRED"}))
    assert [(one.code, one.level, one.origin.path) for one in found] == [
        ("Conflicted", Level.ERROR, "spec.jwtRules[1]")
    ]


def test_a_token_that_is_demanded_twice_is_still_there_for_the_second() -> None:
    """Of a mesh and of a namespace, say: Envoy takes a token out once it is found good."""
    rule = {"issuer": "a", "presence": "REQUIRED"}
    mesh, own = policy(rule, namespace="istio-system"), policy(rule)
    assert [place.readers[0].forward for place in read(mesh, own).places] == [True, False]
    assert problems(mesh, own) == []


def test_a_bad_rule_looks_where_it_says_and_believes_nobody() -> None:
    bad = policy({"issuer": "a", "jwks": "{}", "fromHeaders": headers("x-a"), "presence": "REQUIRED"})
    (place,) = read(bad).places
    assert place.required
    assert (place.readers[0].keys, place.readers[0].issuer) == (None, "a")
    assert place.locations == Locations((TokenHeader("x-a"),))


@pytest.mark.parametrize("selector", ["3", "{matchLabels: {app: 3}}", "{matchLabels: {app: 'a*'}}", "{labels: {}}"])
def test_a_policy_for_nobody_knows_whom_believes_nobody(selector: str) -> None:
    """It acts on all it may be for, and none of them is to believe tokens that were meant for another."""
    bad = written(f"spec: {{selector: {selector}, jwtRules: [{{issuer: a, jwks: '{KEYS}'}}]}}")
    assert [reader.keys for reader in read(bad).readers] == [None]


def test_rules_for_one_issuer_that_differ_are_told_whose_word_counts() -> None:
    mesh = policy({"issuer": "a"}, namespace="istio-system")
    own = policy({"issuer": "a", "outputPayloadToHeader": "x-payload"})
    assert [(one.code, one.origin.ref.namespace) for one in problems(mesh, own)] == [("Conflicted", "default")]
    assert problems(mesh, policy({"issuer": "a", "audiences": ["x"]})) == []


def test_a_header_that_one_rule_writes_another_cannot_read() -> None:
    writes = policy({"issuer": "a", "outputClaimToHeaders": [{"header": "X-B", "claim": "sub"}]})
    reads = policy({"issuer": "b", "fromHeaders": headers("x-b")}, name="q")
    (problem,) = problems(writes, reads)
    assert (problem.code, problem.level, problem.origin.ref.name) == ("Conflicted", Level.ERROR, "p")


def test_keys_must_come_from_somewhere() -> None:
    missing = written("spec: {jwtRules: [{issuer: a}]}")
    found = own_problems(missing, JwksResolver.ENVOY)
    assert [(one.code, one.origin.path) for one in found] == [("RequiredField", "spec.jwtRules[0]")]
    assert own_problems(missing, JwksResolver.CONTROL_PLANE) == found  # "a" is no place to ask
    assert [reader.keys for reader in read(missing).readers] == [None]


# Keys the control plane asks for

URI = "https://issuer.example.com/keys"
ISSUER = "https://issuer.example.com/"
DISCOVERED = "https://issuer.example.com/.well-known/openid-configuration"


@pytest.mark.parametrize(
    ("known", "keys", "said"),
    [
        (FetchedKeys(KEYS), IssuerKeys(KEYS), None),
        (FetchedKeys(KEYS, "it answers 500"), IssuerKeys(KEYS), Level.WARNING),
        (FetchedKeys(failure="it answers 500"), None, Level.ERROR),
        (None, None, Level.ERROR),
    ],
)
def test_keys_are_what_the_issuer_answered_or_nobodys(
    known: FetchedKeys | None, keys: IssuerKeys | None, said: Level | None
) -> None:
    servers = Servers({} if known is None else {URI: known})
    found, problems = tokens([policy({"issuer": "a", "jwksUri": URI})], servers)
    assert found is not None
    assert [reader.keys for reader in found.readers] == [keys]
    assert [(one.code, one.level) for one in problems] == ([("JwksUnavailable", said)] if said else [])


def test_what_the_control_plane_asks_for() -> None:
    """Hosts of the mesh are the proxies' to ask; an issuer that says nothing of its keys is asked where they are."""
    asked = policy(
        {"issuer": "a", "jwksUri": URI},
        {"issuer": "b", "jwksUri": "http://keys.mesh/b"},
        {"issuer": "c"},
        {"issuer": "d", "jwksUri": "https://127.0.0.1/"},
    )
    bare = written(f"spec: {{jwtRules: [{{issuer: '{ISSUER}'}}, {{issuer: e}}, {{issuer: 'http://f.example.com'}}]}}")
    assert list(fetched_uris(asked, Servers({}))) == [URI]
    assert list(fetched_uris(bare, Servers({}))) == [DISCOVERED]
    assert list(fetched_uris(asked, Servers())) == []
    assert [one.origin.path for one in own_problems(bare, JwksResolver.CONTROL_PLANE)] == [
        "spec.jwtRules[1]",
        "spec.jwtRules[2]",
    ]


def test_keys_that_were_discovered() -> None:
    bare = written(f"spec: {{jwtRules: [{{issuer: '{ISSUER}'}}]}}")
    found, problems = tokens([bare], Servers({DISCOVERED: FetchedKeys(KEYS)}))
    assert found is not None
    assert ([reader.keys for reader in found.readers], problems) == ([IssuerKeys(KEYS)], ())
