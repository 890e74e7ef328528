"""Ways around rules, each tried on a real Envoy: what must not come through does not, and what may, does.

Threat row 17: rules that were compiled loosely, and requests that mean one thing to a proxy and another to what stands
behind it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest

from controlplane.explain import Address
from controlplane.explain.authorization import Message, decide
from controlplane.model.settings import MeshPathNormalization, PathNormalization, Settings
from tests.conftest import Proved
from tests.envoys import Upstreams
from tests.explain.authorization.calls import Caller, Sent
from tests.explain.authorization.client import Answer, Verdict
from tests.explain.authorization.differential import asked, bytes_to, requests_to
from tests.explain.authorization.stage import Set, envoy_of
from tests.explain.case import Addresses

Call = tuple[Caller, Sent | None]


def get(path: str = "/", *, host: str = "shop", method: str = "GET", by: Caller | None = None, **how: Any) -> Call:
    """A request; `headers` are pairs."""
    caller = by or Caller()
    message = Message(method=method, host=host, path=path, headers=tuple(how.pop("headers", ())), http2=caller.http2)
    return caller, Sent(message, **how)


def of(*names: str) -> Caller:
    """Somebody whose certificate has these names."""
    return Caller(tls=True, certificate=names)


def member(identity: str) -> Call:
    return get(by=of(f"spiffe://mesh.example/{identity}"))


class Way(msgspec.Struct):
    """Rules, calls they must keep out, and others that they must not."""

    rules: Sequence[Any]
    out: Sequence[Call]
    through: Sequence[Call]
    action: str = "ALLOW"
    paths: PathNormalization = PathNormalization.DEFAULT

    @property
    def documents(self) -> list[Any]:
        """As a user writes it."""
        metadata = {"name": "rules", "namespace": "shop"}
        spec = {"action": self.action, "rules": self.rules}
        return [
            {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata, "spec": spec}
        ]


def to(**operation: Any) -> Any:
    return {"to": [{"operation": operation}]}


def by(**source: Any) -> Any:
    return {"from": [{"source": source}]}


def when(key: str, **values: Any) -> Any:
    return {"when": [{"key": key, **values}]}


HTTP2 = Caller(tls=True, http2=True)
TEAM = "request.headers[x-team]"
WAYS: dict[str, Way] = {
    # texts that are taken for patterns
    "a dot in a host": Way([to(hosts=["api.example"])], [get(host="apixexample")], [get(host="api.example")]),
    "a dot in a path": Way([to(paths=["/a.b"])], [get("/axb")], [get("/a.b")]),
    "a dot in an account": Way(
        [by(serviceAccounts=["a/x.y"])], [member("ns/a/sa/xzy")], [member("ns/a/sa/x.y")],
    ),
    "a dot in a trust domain": Way(
        [by(trustDomains=["mesh.example"])],
        [get(by=of("spiffe://meshxexample/ns/a/sa/x"))],
        [member("ns/a/sa/x")],
    ),
    "a dot in a header": Way([when(TEAM, values=["a.b"])], [get(headers=[("x-team", "axb")])], [get(headers=[("x-team", "a.b")])]),
    "an expression in a header": Way(
        [when(TEAM, values=[".*", "(a+)+$"])], [get(headers=[("x-team", "aaaa")])], [get(headers=[("x-team", ".*")])]
    ),
    "brackets, where templates of Envoy see none": Way(
        [to(paths=["/{*}/admin", "/of/{**}/admin"])],
        [get(path) for path in ("/a/admin", "/a[b/admin", "/a|b/admin", "/a%5Bb/admin", "/of/a[/b]/admin")],
        [get("/a[b/other"), get("/of/admins")],
        action="DENY",
    ),
    # names that begin or end alike
    "a namespace that begins alike": Way([by(namespaces=["a"])], [member("ns/ab/sa/x")], [member("ns/a/sa/x")]),
    "an account that begins alike": Way([by(serviceAccounts=["a/x"])], [member("ns/a/sa/xy")], [member("ns/a/sa/x")]),
    "an identity with more behind it": Way(
        [by(namespaces=["a"]), by(serviceAccounts=["a/x"])],
        [member("ns/a/sa/x/more"), member("x/y/ns/a/sa/x"), member("ns/a"), member("sa/x/ns/a")],
        [member("ns/a/sa/x")],
    ),
    "a name of another kind": Way(
        [by(namespaces=["a"]), by(principals=["mesh.example/ns/a/sa/x"])],
        [get(by=of("https://mesh.example/ns/a/sa/x")), get(by=of("client.example"))],
        [member("ns/a/sa/x")],
    ),
    "a host that ends alike": Way([to(hosts=["*.example"])], [get(host="a.xexample"), get(host="example")], [get(host="a.example")]),
    "a path that begins alike": Way([to(paths=["/a/*"])], [get("/ab"), get("/a")], [get("/a/"), get("/a/b")]),
    "a trust domain of somebody else": Way(
        [by(principals=["cluster.local/ns/a/sa/x"])],
        [get(by=of("spiffe://elsewhere.example/ns/a/sa/x")), get(by=of("spiffe://xmesh.example/ns/a/sa/x"))],
        [member("ns/a/sa/x")],
    ),
    # nothing said
    "nobody is not everybody": Way([by(principals=["*"])], [get(), get(by=Caller(tls=True))], [member("ns/a/sa/x")]),
    "a header that is not there": Way([when(TEAM, values=["*"])], [get()], [get(headers=[("x-team", "a")])]),
    "an empty rule allows everything": Way([{}], [], [get(), member("ns/a/sa/x")]),
    "no rules allow nothing": Way([], [get(), member("ns/a/sa/x")], []),
    "an empty list of sources allows nothing": Way([{"from": []}], [get(), member("ns/a/sa/x")], []),
    "a rule that cannot be read allows nothing": Way([{"frmo": [], **to(paths=["/a"])}], [get("/a")], []),
    "a rule that cannot be read denies what it may": Way(
        [{**to(paths=["/a"]), **when("source.nothing", values=["a"])}], [get("/a")], [get("/b")], action="DENY",
    ),
    "a token nobody signed": Way([by(requestPrincipals=["*"])], [get(), get(headers=[("authorization", "Basic YTpi")])], [get(token=0)]),
    # more than one of something
    "a second header of the name": Way(
        [when(TEAM, values=["banned"])],
        [
            get(headers=[("x-team", "good"), ("x-team", "banned")]),
            get(headers=[("x-team", "banned"), ("X-TEAM", "good")]),
            get(by=HTTP2, headers=[("x-team", "good"), ("x-team", "banned")]),
        ],
        [get(headers=[("x-team", "good"), ("x-team", "better")])],
        action="DENY",
    ),
    "a second header that is unwanted": Way(
        [when(TEAM, notValues=["banned"])],
        [get(headers=[("x-team", "good"), ("x-team", "banned")])],
        [get(headers=[("x-team", "good")]), get()],
    ),
    "the case of a header's name": Way(
        [when("request.headers[X-Team]", values=["banned"])],
        [get(headers=[("x-tEAM", "banned")]), get(by=HTTP2, headers=[("x-team", "banned")])],
        [get(headers=[("x-teams", "banned")])],
        action="DENY",
    ),
    # one host in several spellings
    "the case of a host": Way([to(hosts=["admin.example"])], [get(host="ADMIN.Example")], [get(host="a.example")], action="DENY"),
    "a host with its port": Way(
        [to(hosts=["admin.example", "admin.example:*"])],
        [get(host="admin.example:80"), get(host="Admin.example:8080")],
        [get(host="admin.example.a")],
        action="DENY",
    ),
    "a host in the first line": Way(
        [to(hosts=["admin.example"])],
        [get(host="admin.example", absolute=True)],  # with another Host beside it
        [get(host="a.example", absolute=True)],
        action="DENY",
    ),
    # one path in several spellings
    "dots in a path": Way(
        [to(paths=["/admin", "/admin/*"])],
        [get(path) for path in ("/x/../admin", "/./admin", "/admin/./a", "/x/y/../../admin", "/admin/x/..")],
        [get("/admin/../x"), get("/adminx")],
        action="DENY",
    ),
    "escapes in a path": Way(
        [to(paths=["/admin"])],
        [get(path) for path in ("/%61dmin", "/adm%69n", "/%61%64%6d%69%6e", "/x/%2e%2e/admin", "/%2E/admin")],
        [get("/%62dmin")],
        action="DENY",
    ),
    "a backslash in a path": Way([to(paths=["/a/admin"])], [get("/a\\admin"), get("\\a/admin")], [get("/a/b")], action="DENY"),
    "a query or fragment at a path": Way(
        [to(paths=["/admin"])],
        [get("/admin?"), get("/admin?a=/b"), get("/admin#"), get("/admin#a"), get("/admin?a#b")],
        [get("/a?/admin")],
        action="DENY",
    ),
    "a suffix after a path": Way(
        [to(paths=["*.css"])],
        [get("/admin?a.css"), get("/admin?.css"), get("/admin#.css"), get("/a.css/../admin")],
        [get("/a.css"), get("/a.css?b")],
    ),
    "slashes in a path": Way(
        [to(paths=["/admin", "/admin/*"])],
        [get("//admin"), get("/admin//a"), get("///admin///")],
        [get("//a")],
        action="DENY",
        paths=PathNormalization.MERGE_SLASHES,
    ),
    "escaped slashes in a path": Way(
        [to(paths=["/a/admin"])],
        [get(path) for path in ("/a%2fadmin", "/a%2Fadmin", "/a%5cadmin", "/a%2f%2fadmin", "/x%2f..%2fa%2fadmin")],
        [get("/a%2fb")],
        action="DENY",
        paths=PathNormalization.DECODE_AND_MERGE_SLASHES,
    ),
    "bytes that are no text": Way(
        [to(paths=["/a/{*}", "/b/*"])],
        [get("/a/\udcff", by=HTTP2), get("/b/\udcc3", by=HTTP2), get("/a/%FF"), get("/a/%00")],
        [get("/c/%FF")],
        action="DENY",
        paths=PathNormalization.NONE,
    ),
    # rules about requests where there are none
    "bytes where requests are allowed": Way([to(methods=["GET"])], [(Caller(), None)], [get()]),
    "bytes where requests are denied": Way([to(paths=["/admin"])], [(Caller(), None), get("/admin")], [get()], action="DENY"),
}  # fmt: skip


@pytest.fixture(scope="module")
def stages() -> Iterator[dict[str, Set]]:
    """Each before rules of its own."""
    addresses, sets = Addresses(), {}
    for number, (name, way) in enumerate(WAYS.items()):
        settings = Settings(
            trust_domain="mesh.example",
            path_normalization=MeshPathNormalization(normalization=way.paths),
        )
        sets[name] = Set.of(f"w{number}", way.documents, settings, (addresses.take(), addresses.take()))
    with Upstreams() as upstreams, envoy_of(list(sets.values()), Address(*upstreams.add("echo"))):
        yield sets


def answer(stage: Set, call: Call) -> Answer:
    caller, sent = call
    return bytes_to(stage, caller) if sent is None else requests_to(stage, caller, [sent])[0]


def evaluated(stage: Set, call: Call) -> bool:
    """What `lateen authz check` would say."""
    return decide(stage.policies, asked(stage, *call), stage.settings).allowed


@pytest.mark.point
@pytest.mark.parametrize("name", WAYS)
def test_there_is_no_way_around(name: str, stages: dict[str, Set], proved: Proved) -> None:
    way, stage = WAYS[name], stages[name]
    wrong = [call for call in way.out if answer(stage, call).verdict is Verdict.ALLOWED]
    cut_off = [call for call in way.through if answer(stage, call).verdict is not Verdict.ALLOWED]
    misread = [call for call in (*way.out, *way.through) if evaluated(stage, call) is not (call in way.through)]
    assert (cut_off, misread) == ([], [])
    proved(
        "identity 7.17", "calls that try to get around rules, of every kind known: came through a real Envoy",
        bound="0", figure=str(wrong or 0), holds=not wrong, cases=len(way.out), asked=len(way.out),
    )  # fmt: skip
