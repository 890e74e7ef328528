"""What holds for the routes of every VirtualService, however odd."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.ir.route import DirectResponse, Forward, Redirect
from controlplane.mesh.caller import Caller
from controlplane.mesh.virtualservice import http_routes, own_problems, rules_of
from controlplane.model.decode import decode
from controlplane.model.virtualservice import VirtualService
from tests.mesh.manifests import SETTINGS
from tests.mesh.traffic import Known

WORDS = st.sampled_from(["", "/", "/a", "/a/b", "x", "*", "(", ".*", "a.com"])
STRINGS = st.fixed_dictionaries({}, optional={"exact": WORDS, "prefix": WORDS, "regex": WORDS})
NAMES = st.sampled_from(["x-a", "X-B", ":method", "@request.auth.claims.a", "host"])
LABELS = st.dictionaries(st.sampled_from(["app", "version"]), st.sampled_from(["web", "v1"]), max_size=2)
MATCHES = st.fixed_dictionaries(
    {},
    optional={
        "uri": STRINGS,
        "method": STRINGS,
        "headers": st.dictionaries(NAMES, STRINGS, max_size=2),
        "withoutHeaders": st.dictionaries(NAMES, STRINGS, max_size=1),
        "queryParams": st.dictionaries(st.sampled_from(["q", "p"]), STRINGS, max_size=2),
        "port": st.sampled_from([0, 80, 9080]),
        "sourceLabels": LABELS,
        "sourceNamespace": st.sampled_from(["default", "other"]),
        "gateways": st.lists(st.sampled_from(["mesh", "gw"]), max_size=2),
    },
)
DESTINATIONS = st.fixed_dictionaries(
    {},
    optional={
        "host": st.sampled_from(["reviews", "nobody", "many", ""]),
        "subset": st.sampled_from(["v1", "v9"]),
        "port": st.fixed_dictionaries({"number": st.sampled_from([0, 80, 9080])}),
    },
)
HEADERS = st.fixed_dictionaries(
    {}, optional={"request": st.fixed_dictionaries({"set": st.dictionaries(NAMES, WORDS, max_size=2)})}
)
SHARES = st.fixed_dictionaries(
    {"destination": DESTINATIONS}, optional={"weight": st.integers(-1, 2**31 - 1), "headers": HEADERS}
)
RULES = st.fixed_dictionaries(
    {},
    optional={
        "match": st.lists(MATCHES, max_size=3),
        "route": st.lists(SHARES, max_size=3),
        "redirect": st.fixed_dictionaries({}, optional={"uri": WORDS, "redirectCode": st.sampled_from([0, 302, 404])}),
        "directResponse": st.fixed_dictionaries({"status": st.sampled_from([0, 200, 999])}),
        "delegate": st.fixed_dictionaries({"name": st.sampled_from(["root", "gone"])}),
        "rewrite": st.fixed_dictionaries({}, optional={"uri": WORDS, "authority": WORDS}),
        "retries": st.fixed_dictionaries({}, optional={"attempts": st.integers(-1, 3), "retryOn": WORDS}),
        "headers": HEADERS,
        "mirror": DESTINATIONS,
    },
)


def read(rules: list[dict[str, Any]]) -> VirtualService | None:
    document = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "root", "namespace": "default"},
        "spec": {"hosts": ["reviews"], "http": rules},
    }
    found = decode(document).value
    return found if isinstance(found, VirtualService) else None


@settings(max_examples=150)
@given(st.lists(RULES, max_size=4), st.sampled_from(["mesh", "default/gw"]), LABELS)
def test_routes_of_any_rules(rules, gateway, labels):
    vs = read(rules)
    assert vs is not None
    found, problems = rules_of(vs, lambda *_: vs)
    routes, more = http_routes(
        found,
        vs=vs,
        caller=Caller("default", labels),
        listener_port=9080,
        gateway=gateway,
        destinations=Known(),
        settings=SETTINGS,
    )
    for problem in (*problems, *more, *own_problems(vs, found)):
        assert problem.message
        assert problem.origin.path.startswith("spec.http[")
    assert routes is not None or all(rule.http.match for rule in found)
    assert not any(route.match.is_catch_all for route in (routes or ())[:-1])
    for route in routes or ():
        _check_action(route.action)
        assert all(header.name == header.name.lower() for header in route.match.headers)


def _check_action(action: Forward | Redirect | DirectResponse) -> None:
    if isinstance(action, Forward):
        assert action.destinations
        assert all(share.weight > 0 and share.cluster.count("|") == 3 for share in action.destinations)
        assert sum(share.weight for share in action.destinations) < 2**32
    elif isinstance(action, Redirect):
        assert action.code in {301, 302, 303, 307, 308}
    else:
        assert 200 <= action.status < 600
