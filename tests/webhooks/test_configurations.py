"""Webhook configurations: whom the API server asks about, and how they are put right."""

import base64
from itertools import product

import msgspec
import pytest

from controlplane.webhooks.configurations import Service, injection, repaired, secret_path
from controlplane.webhooks.injection.decision import Namespace, skipped
from controlplane.webhooks.injection.pod import read_pod
from controlplane.webhooks.injection.settings import InjectionSettings, Selector
from tests.conftest import Proved
from tests.webhooks.patching import applied

SERVICE = Service("lateen-system", "lateend", "/inject/secret")
ROOTS = b"-----BEGIN CERTIFICATE-----\n"
DEFAULT = InjectionSettings()
CANARY = InjectionSettings(revision="canary", tags=("next",))
TAKEN_OVER = InjectionSettings(revision="canary", tags=("default",))

INJECTION, REVISION, INJECT = "istio-injection", "istio.io/rev", "sidecar.istio.io/inject"


def selects(selector, labels):
    return msgspec.convert(selector, Selector).matches(labels)


def hooks_that_ask(configuration, namespace, labels, of_pod):
    of_namespace = {"kubernetes.io/metadata.name": namespace, **labels}
    return [
        hook["name"]
        for hook in configuration["webhooks"]
        if selects(hook["namespaceSelector"], of_namespace) and selects(hook["objectSelector"], of_pod)
    ]


NAMESPACES = [
    {key: value for key, value in zip((INJECTION, REVISION), values, strict=True) if value is not None}
    for values in product((None, "enabled", "disabled", "odd"), (None, "default", "canary", "next", "other"))
]
PODS = [
    {key: value for key, value in zip((INJECT, REVISION), values, strict=True) if value is not None}
    for values in product((None, "true", "false"), (None, "default", "canary", "next", "other"))
]


@pytest.mark.point
@pytest.mark.parametrize("settings", [DEFAULT, CANARY, TAKEN_OVER], ids=["default", "canary", "tagged default"])
def test_the_api_server_asks_about_those_that_get_a_proxy_and_nobody_else(settings, proved: Proved):
    configuration, wrong, count = injection("ours", settings, SERVICE, ROOTS), [], 0
    for namespace in ("shop", "kube-system", "lateen-system"):
        for labels, of_pod in product(NAMESPACES, PODS):
            pod = read_pod({"metadata": {"labels": of_pod}, "spec": {"containers": [{"name": "a"}]}})
            wanted = skipped(settings, Namespace(namespace, labels), pod) is None
            asking = hooks_that_ask(configuration, namespace, labels, of_pod)
            count += 1
            if len(asking) != wanted:
                wrong.append((namespace, labels, of_pod, asking))
    print(*wrong[:10], sep="\n")
    proved(
        "kubernetes 5", "combinations of labels in which the API server asks about a Pod that has not asked for the mesh,"
        " or does not about one that has",
        bound="0", figure=str(len(wrong)), holds=not wrong, cases=count, asked=900,
    )  # fmt: skip


def test_what_they_say():
    found = injection("ours", CANARY, SERVICE, ROOTS, {"team": "mesh"})
    assert found["metadata"] == {
        "name": "ours", "labels": {"team": "mesh", "app": "sidecar-injector", "istio.io/rev": "canary"},
    }  # fmt: skip
    assert [hook["name"] for hook in found["webhooks"]] == [
        "rev.namespace.sidecar-injector.lateen",
        "rev.object.sidecar-injector.lateen",
    ]
    for hook in found["webhooks"]:
        assert hook["failurePolicy"] == "Fail"
        assert hook["timeoutSeconds"] == 5
        assert hook["sideEffects"] == "None"
        assert hook["clientConfig"]["service"] == {
            "namespace": "lateen-system", "name": "lateend", "path": "/inject/secret", "port": 443,
        }  # fmt: skip
        assert base64.b64decode(hook["clientConfig"]["caBundle"]) == ROOTS


def stored(configuration):
    """As an API server gives it back: defaults filled in, bytes of its own."""
    found = msgspec.json.decode(msgspec.json.encode(configuration))
    found["metadata"] |= {"uid": "1", "resourceVersion": "7"}
    for hook in found["webhooks"]:
        hook |= {"matchPolicy": "Equivalent"}
        hook["rules"][0]["scope"] = "*"
    return found


def test_what_is_right_stays():
    wanted = injection("ours", DEFAULT, SERVICE, ROOTS)
    assert repaired(stored(wanted), wanted) == ((), ())


@pytest.mark.parametrize(
    "broken",
    [
        {"caBundle": "bm9uZQ=="},
        {"caBundle": None},
        {"service": {"namespace": "elsewhere", "name": "lateend", "path": "/inject/secret", "port": 443}},
        {"service": None, "url": "https://elsewhere.example/"},
    ],
    ids=str,
)
def test_who_is_called_is_put_right_and_nothing_else(broken):
    wanted = injection("ours", DEFAULT, SERVICE, ROOTS)
    current = stored(wanted)
    foreign = {"name": "somebody.else.example", "clientConfig": {"caBundle": "eA=="}}
    current["webhooks"].insert(1, foreign)
    current["webhooks"][2]["clientConfig"] |= broken
    repair = repaired(current, wanted)
    assert repair.drift == ()
    assert len(repair.patch) == 2
    steps = msgspec.to_builtins(repair.patch)
    assert steps[0] == {"op": "test", "path": "/webhooks/2/name", "value": "rev.object.sidecar-injector.lateen"}
    after = applied(current, steps[1:])
    assert after["webhooks"][2]["clientConfig"] == wanted["webhooks"][1]["clientConfig"]
    assert after["webhooks"][1] == foreign
    assert repaired(after, wanted) == ((), ())


def test_entries_of_tags_are_kept_right_too():
    wanted = injection("ours", DEFAULT, SERVICE, ROOTS)
    current = stored(wanted)
    current["webhooks"].append({"name": "e0.stable.tag.lateen.dev", "clientConfig": {}})
    repair = repaired(current, wanted)
    assert list(msgspec.to_builtins(repair.patch)) == [
        {"op": "test", "path": "/webhooks/4/name", "value": "e0.stable.tag.lateen.dev"},
        {"op": "replace", "path": "/webhooks/4/clientConfig", "value": wanted["webhooks"][0]["clientConfig"]},
    ]
    assert repair.drift == ()


def test_an_installer_leaves_the_certificate_to_the_control_plane():
    applied_first = injection("ours", DEFAULT, SERVICE)
    assert all("caBundle" not in hook["clientConfig"] for hook in applied_first["webhooks"])
    assert repaired(stored(injection("ours", DEFAULT, SERVICE, ROOTS)), applied_first) == ((), ())
    assert len(repaired(stored(applied_first), injection("ours", DEFAULT, SERVICE, ROOTS)).patch) == 8


def test_what_else_differs_is_said():
    wanted = injection("ours", DEFAULT, SERVICE, ROOTS)
    current = stored(wanted)
    current["webhooks"][0]["failurePolicy"] = "Ignore"
    del current["webhooks"][2]["objectSelector"]
    del current["webhooks"][3]
    assert repaired(current, wanted) == (
        (),
        (
            "webhooks[rev.namespace.sidecar-injector.lateen].failurePolicy",
            "webhooks[namespace.sidecar-injector.lateen].objectSelector",
            "webhooks[object.sidecar-injector.lateen]",
        ),
    )


def test_a_path_is_known_to_who_knows_the_secret():
    path = secret_path("/inject", b"a")
    assert path == secret_path("/inject", b"a")
    assert path.startswith("/inject/")
    assert len({path, secret_path("/inject", b"b"), secret_path("/validate", b"a")}) == 3
