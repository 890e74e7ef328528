"""The tables and sentences of the Ingress documentation, one by one.

https://kubernetes.io/docs/concepts/services-networking/ingress/ has the tables; the rest are the cases of
kubernetes-sigs/ingress-controller-conformance (path_rules, host_rules, default_backend).
"""

import pytest

from tests.gatewayapi.ingresses import Gate, Path, backend, ingress, rule

NOBODY = "404"

# "Path types: examples": kind and path(s), request path, which of them matches.
TABLE = [
    (["Prefix /"], "/", "Prefix /"),
    (["Prefix /"], "/any/path", "Prefix /"),
    (["Exact /foo"], "/foo", "Exact /foo"),
    (["Exact /foo"], "/bar", None),
    (["Exact /foo"], "/foo/", None),
    (["Exact /foo/"], "/foo", None),
    (["Prefix /foo"], "/foo", "Prefix /foo"),
    (["Prefix /foo"], "/foo/", "Prefix /foo"),
    (["Prefix /foo/"], "/foo", "Prefix /foo/"),
    (["Prefix /foo/"], "/foo/", "Prefix /foo/"),
    (["Prefix /aaa/bb"], "/aaa/bbb", None),
    (["Prefix /aaa/bbb"], "/aaa/bbb", "Prefix /aaa/bbb"),
    (["Prefix /aaa/bbb/"], "/aaa/bbb", "Prefix /aaa/bbb/"),
    (["Prefix /aaa/bbb"], "/aaa/bbb/", "Prefix /aaa/bbb"),
    (["Prefix /aaa/bbb"], "/aaa/bbb/ccc", "Prefix /aaa/bbb"),
    (["Prefix /aaa/bbb"], "/aaa/bbbxyz", None),
    (["Prefix /", "Prefix /aaa"], "/aaa/ccc", "Prefix /aaa"),
    (["Prefix /", "Prefix /aaa", "Prefix /aaa/bbb"], "/aaa/bbb", "Prefix /aaa/bbb"),
    (["Prefix /", "Prefix /aaa", "Prefix /aaa/bbb"], "/ccc", "Prefix /"),
    (["Prefix /aaa"], "/ccc", None),
    (["Exact /foo", "Prefix /foo"], "/foo", "Exact /foo"),
    (["Prefix /foo", "Exact /foo"], "/foo", "Exact /foo"),
    # conformance
    (["Exact /foo"], "/FOO", None),
    (["Prefix /foo"], "/FOO", None),
    (["Prefix /aaa/bbb", "Prefix /aaa"], "/aaa/bbb/ccc", "Prefix /aaa/bbb"),
    (["Prefix /aaa/bbb", "Prefix /aaa"], "/aaa/ccc", "Prefix /aaa"),
    (["Prefix /aaa/bbb", "Prefix /aaa"], "/aaaccc", None),
    # what follows from the words: a query is no part of a path, the order in which rules are written counts for nothing
    (["Prefix /foo", "Exact /foo/bar"], "/foo/bar?a=b", "Exact /foo/bar"),
    (["Exact /foo"], "/foo?a=/foo/", "Exact /foo"),
    (["Prefix /a", "Prefix /a/b/c", "Prefix /a/b"], "/a/b/d", "Prefix /a/b"),
    (["Exact /foo/", "Prefix /foo"], "/foo/", "Exact /foo/"),
    (["Exact /foo", "Prefix /foo/"], "/foo", "Exact /foo"),
]


@pytest.mark.parametrize(("paths", "request_path", "matches"), TABLE)
def test_paths(paths: list[str], request_path: str, matches: str | None) -> None:
    split = [one.split(" ") for one in paths]
    gate = Gate(ingress(rules=[rule("a.com", *(Path(path, f"s{i}", kind) for i, (kind, path) in enumerate(split)))]))
    assert gate.to("a.com", request_path) == (NOBODY if matches is None else f"s{paths.index(matches)}")
    assert gate.told() == []


# "Hostname wildcards": host, Host header, whether it matches.
HOSTS = [
    ("*.foo.com", "bar.foo.com", "it"),
    ("*.foo.com", "baz.bar.foo.com", NOBODY),
    ("*.foo.com", "foo.com", NOBODY),
    # conformance
    ("foo.bar.com", "foo.bar.com", "it"),
    ("foo.bar.com", "subdomain.bar.com", NOBODY),
    # a port in the request says nothing, nor does the case
    ("*.foo.com", "bar.foo.com:8080", "it"),
    ("*.foo.com", "baz.bar.foo.com:8080", NOBODY),
    ("*.foo.com", "Bar.Foo.com", "it"),
    ("foo.bar.com", "FOO.bar.com:80", "it"),
    ("*.foo.com", "bar.fooXcom", NOBODY),
    (None, "anything.example.com", "it"),
    (None, "192.0.2.1", "it"),
]


@pytest.mark.parametrize(("host", "asked", "matches"), HOSTS)
def test_hosts(host: str | None, asked: str, matches: str) -> None:
    gate = Gate(ingress(rules=[rule(host, Path("/", "it"))]))
    assert gate.to(asked) == matches


def test_an_exact_host_goes_before_a_wildcard_and_that_before_every_host() -> None:
    """Hosts are asked first: what the nearest host has no path for is not asked of the next."""
    rules = [
        rule(None, Path("/", "every")),
        rule("*.foo.com", Path("/", "wild")),
        rule("bar.foo.com", Path("/bar", "exact")),
    ]
    gate = Gate(ingress(rules=rules))
    assert gate.to("bar.foo.com", "/bar") == "exact"
    assert gate.to("bar.foo.com", "/") == NOBODY
    assert gate.to("baz.foo.com", "/bar") == "wild"
    assert gate.to("foo.com", "/bar") == "every"


def test_a_name_with_more_labels_than_a_wildcard_falls_to_the_next_host() -> None:
    """Envoy's own wildcards would have kept it."""
    rules = [
        rule(None, Path("/", "every")),
        rule("*.com", Path("/", "top")),
        rule("*.foo.com", Path("/wild", "wild")),
    ]
    gate = Gate(ingress(rules=rules))
    assert gate.to("bar.foo.com", "/wild") == "wild"
    assert gate.to("bar.foo.com", "/else") == NOBODY
    assert gate.to("baz.bar.foo.com", "/wild") == "every"
    assert gate.to("foo.com") == "top"
    gate = Gate(ingress(rules=rules[1:]))
    assert gate.to("baz.bar.foo.com", "/wild") == NOBODY


def test_the_default_backend_has_what_no_host_and_no_path_matches() -> None:
    gate = Gate(ingress(defaultBackend=backend("rest"), rules=[rule("a.com", Path("/a", "a"))]))
    assert gate.to("a.com", "/a") == "a"
    assert gate.to("a.com", "/b") == "rest"
    assert gate.to("b.com", "/a") == "rest"


def test_a_default_backend_alone() -> None:
    gate = Gate(ingress(defaultBackend=backend("rest")))
    assert gate.to("a.com", "/a") == "rest"
    assert gate.to("10.0.0.1", "/") == "rest"


def test_a_rule_without_paths_is_for_the_default_backend() -> None:
    gate = Gate(ingress(defaultBackend=backend("rest"), rules=[{"host": "a.com"}]))
    assert gate.to("a.com") == "rest"
    bare = Gate(ingress(rules=[{"host": "a.com"}]))
    assert bare.to("a.com") == NOBODY
    assert bare.told() == [("NoEffect", "Ingress default/web", "spec.rules[0]")]


def test_ports_by_number_and_by_name() -> None:
    backends = {"/number": backend("it", number=80), "/name": backend("it", name="http")}
    paths = [{"path": path, "pathType": "Exact", "backend": one} for path, one in backends.items()]
    gate = Gate(ingress(rules=[{"host": "a.com", "http": {"paths": paths}}]))
    assert [gate.to("a.com", path) for path in backends] == ["it", "it"]
    assert gate.told() == []


# ImplementationSpecific: ours, and Istio's for its own class.
SPECIFIC = [
    ("lateen", "", "/any", "it"),
    ("lateen", "/", "/any", "it"),
    ("lateen", "/*", "/any", "it"),
    ("lateen", "/foo", "/foo/bar", "it"),
    ("lateen", "/foo", "/foobar", NOBODY),
    ("lateen", "/foo/*", "/foo/bar", "it"),
    ("lateen", "/foo/*", "/foobar", NOBODY),
    ("lateen", "/foo.*", "/foobar", "it"),
    ("istio", "", "/any", "it"),
    ("istio", "/*", "/any", "it"),
    ("istio", "/", "/any", NOBODY),
    ("istio", "/foo", "/foo", "it"),
    ("istio", "/foo", "/foo/bar", NOBODY),
    ("istio", "/foo/*", "/foobar", "it"),
    ("istio", "/foo.*", "/foobar", "it"),
]


@pytest.mark.parametrize(("name", "path", "asked", "matches"), SPECIFIC)
def test_what_is_specific_to_an_implementation(name: str, path: str, asked: str, matches: str) -> None:
    rules = [rule("a.com", Path(path, "it", "ImplementationSpecific"))]
    gate = Gate(ingress(ingressClassName=name, rules=rules))
    assert gate.to("a.com", asked) == matches
