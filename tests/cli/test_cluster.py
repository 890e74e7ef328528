"""Commands against a cluster: all replicas are asked over pods/exec, and what they say is put together."""

import asyncio
import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import msgspec
import pytest
import yaml

from controlplane.cli.main import _connected as connected
from controlplane.cli.main import run
from controlplane.cli.objects import _NOT_READ
from controlplane.local.certificates import certificates
from controlplane.local.statedir import state_directory
from controlplane.model.kinds import KINDS
from controlplane.runtime.unixhttp import serving as answering
from tests.cli.pods import Pods, serving
from tests.local.meshes import REPOSITORY
from tests.xds.tls import ROOT, SERVER

Say = Callable[[str], Awaitable[tuple[int, str, str]]]
SYNCED = {"state": "SYNCED", "resources": 1, "sent": True, "message": ""}


def proxy(name: str) -> dict[str, Any]:
    return {
        "id": f"sidecar~10.0.0.1~{name}~x",
        "name": name,
        "type": "sidecar",
        "connected_seconds": 3.0,
        "envoy_version": "1.40.0",
        "types": {"CDS": SYNCED},
    }


def problem(level: str, name: str) -> dict[str, str]:
    found = {"level": level, "code": "NotOwner", "object": f"VirtualService shop/{name}", "path": "", "place": ""}
    return {**found, "message": "m", "line": f"{level}: {name}"}


class Replica:
    """A control plane of the cluster."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.problems = [problem("warning", "both")]
        self.held: dict[str, str] = {}  # name -> version
        self.states = dict.fromkeys(names, "SYNCED")
        self.asked: list[str] = []
        self.secrets: list[dict[str, Any]] = []

    def __call__(self, target: str) -> tuple[int, Any]:
        path, query = urlsplit(target).path, {key: one[0] for key, one in parse_qs(urlsplit(target).query).items()}
        self.asked.append(path)
        match path:
            case "/proxies":
                return 200, [proxy(name) for name in self.names]
            case "/problems":
                return 200, self.problems
            case "/version":
                return 200, {"lateen": "0.1.0"}
            case "/settings":
                return 200, {"workloadCertificates": True}
            case "/config":
                known = [name for name in self.names if query["proxy"] in {name, proxy(name)["id"]}]
                if not known:
                    return 404, {"error": f"no proxy is called {query['proxy']!r}; there are: {', '.join(self.names)}"}
                return 200, {"listeners": [], "clusters": [{"name": f"of {known[0]}"}], "routes": [], "endpoints": []}
            case "/ca":
                told = {"known": len(self.names), "lacking": list(self.names[:1]), "holding": []}
                rest = {"signers": [], "trusted": [], "from": "Secret", "plugged": False}
                return 200, {"step": "trusting", "next": "switch", "problem": "", "proxies": told, **rest}
            case "/secrets":
                return 200, self.secrets
            case "/reached":
                name = query.get("name", "")
                found = {"current": self.held.get(name, "") == query.get("version", ""), "is_read": name in self.held}
                states = [{"name": one, "state": state, "message": ""} for one, state in self.states.items()]
                return 200, {**found, "proxies": states if name in self.held else []}
        return 404, {"error": "no such path"}


@pytest.fixture
def pods() -> Pods:
    found = Pods()
    found.replicas = {"lateend-a": Replica("cart-1.shop", "edge-1.shop"), "lateend-b": Replica("front-1.shop")}
    return found


@pytest.fixture
async def say(
    pods: Pods, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Say]:
    monkeypatch.chdir(tmp_path)
    async with serving(pods, tmp_path) as kubeconfig:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        # The package reads the variable when it is imported: once a process, and this is not the first.
        monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))

        async def command(words: str) -> tuple[int, str, str]:
            capsys.readouterr()
            code = await asyncio.to_thread(run, words.replace("@", str(kubeconfig)).split())
            printed = capsys.readouterr()
            return code, printed.out, printed.err

        yield command


async def test_proxies_of_all_replicas_are_one_list(pods: Pods, say: Say) -> None:
    code, out, err = await say("proxy-status --kubeconfig @ -o json")
    assert (code, err) == (0, "")
    assert [(one["name"], one["replica"]) for one in json.loads(out)] == [
        ("cart-1.shop", "lateend-a"),
        ("edge-1.shop", "lateend-a"),
        ("front-1.shop", "lateend-b"),
    ]
    assert sorted(pods.commands) == [
        ("lateend-a", "lateend", ["lateen", "debug", "/proxies"]),
        ("lateend-b", "lateend", ["lateen", "debug", "/proxies"]),
    ]


async def test_a_replica_that_does_not_answer_is_named(pods: Pods, say: Say) -> None:
    pods.broken["lateend-b"] = "lateen: nobody runs here"
    code, out, err = await say("proxy-status --context model")
    assert code == 0
    assert "cart-1.shop" in out
    assert "front-1.shop" not in out
    assert err == "lateen: lateend-b does not answer, so its proxies are missing: nobody runs here\n"
    pods.phases["lateend-b"] = "Pending"
    assert (await say("proxy-status --context model"))[2] == "", "who is not there yet has no proxies"
    pods.broken["lateend-a"] = "x"
    code, _, err = await say("proxy-status --context model")
    assert code == 2
    assert err == "lateen: no replica of the control plane answers: lateend-a: x; lateend-b: its Pod is Pending\n"


async def test_a_replica_that_is_about_to_end_is_asked_and_not_missed(pods: Pods, say: Say) -> None:
    pods.ending = {"lateend-b"}
    code, out, err = await say("proxy-status --context model")
    assert (code, err) == (0, "")
    assert "front-1.shop" in out
    pods.broken["lateend-b"] = "gone"
    code, out, err = await say("proxy-status --context model")
    assert (code, err) == (0, "")
    assert "front-1.shop" not in out


async def test_a_replica_that_has_not_started_is_not_missed(pods: Pods, say: Say) -> None:
    pods.starting, pods.broken = {"lateend-b"}, {"lateend-b": "lateen: nobody runs here"}
    code, _, err = await say("proxy-status --context model")
    assert (code, err) == (0, "")


async def test_a_cluster_s_secrets_are_no_reason_to_find_fault_with_what_names_them(
    pods: Pods, say: Say, tmp_path: Path
) -> None:
    tls = {"mode": "SIMPLE", "credentialName": "key"}
    server = {"port": {"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": ["a.example.com"], "tls": tls}
    gateway = {"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "edge"}}
    spec = {"selector": {"istio": "ingressgateway"}, "servers": [server]}
    (tmp_path / "edge.yaml").write_text(json.dumps({**gateway, "spec": spec}))
    code, out, err = await say("analyze edge.yaml --live --context model -o json")
    assert (code, json.loads(out)) == (0, [])
    assert "Secrets are not read" in err
    assert (await say("analyze edge.yaml"))[0] == 1, "of these manifests alone there is none"


async def test_who_may_not_run_commands_in_pods_is_told_which_right_is_missing(pods: Pods, say: Say) -> None:
    pods.forbidden = {"/exec"}
    code, _, err = await say("problems --context model")
    assert code == 2
    assert "`create` and `get` on pods/exec in lateen-system are needed (403)" in err


async def test_without_a_control_plane_it_says_where_it_looked(pods: Pods, say: Say) -> None:
    pods.replicas.clear()
    code, _, err = await say("problems --context model --namespace elsewhere")
    assert code == 2
    assert "no control plane runs in namespace elsewhere" in err


async def test_a_problem_that_all_replicas_have_is_one(pods: Pods, say: Say) -> None:
    first, second = pods.replicas.values()
    second.problems = [problem("error", "own"), problem("warning", "both")]  # type: ignore[attr-defined]
    first.problems = [problem("warning", "both")]  # type: ignore[attr-defined]
    code, out, _ = await say("problems --context model -o json")
    assert code == 0
    assert [one["line"] for one in json.loads(out)] == ["error: own", "warning: both"]
    assert (await say("analyze --context model"))[0] == 1
    assert (await say("analyze --context model --fail-on never"))[0] == 0


async def test_the_replica_that_knows_a_proxy_says_what_it_is_sent(say: Say) -> None:
    code, out, _ = await say("proxy-config clusters front --context model -o json")
    assert (code, json.loads(out)) == (0, [{"name": "of front-1.shop"}])
    code, _, err = await say("proxy-config clusters nobody --context model")
    assert code == 1
    assert "cart-1.shop" in err
    assert "front-1.shop" in err


async def test_a_name_that_another_one_begins_with_is_its_own(pods: Pods, say: Say) -> None:
    pods.replicas = {"lateend-a": Replica("cart-1.shop-2"), "lateend-b": Replica("cart-1.shop")}
    code, out, _ = await say("proxy-config clusters cart-1.shop --context model -o json")
    assert (code, json.loads(out)) == (0, [{"name": "of cart-1.shop"}])
    assert [pod for pod, _, command in pods.commands if "/config" in command[-1]] == ["lateend-b"]
    code, _, err = await say("proxy-config clusters cart --context model")
    assert (code, err) == (1, "lateen: 'cart' may be any of cart-1.shop, cart-1.shop-2\n")


async def test_a_rotation_waits_for_the_proxies_of_all_replicas(say: Say) -> None:
    code, out, _ = await say("ca rotate status --context model -o json")
    assert code == 0
    assert json.loads(out)["proxies"] == {"known": 3, "lacking": ["cart-1.shop", "front-1.shop"], "holding": []}


async def test_versions_of_all_replicas(say: Say) -> None:
    found = json.loads((await say("version --context model -o json"))[1])
    assert [(one["name"], one["lateen"]) for one in found["controlPlane"]] == [
        ("lateend-a", "0.1.0"),
        ("lateend-b", "0.1.0"),
    ]
    assert len(found["proxies"]) == 3


async def test_versions_of_a_cluster_that_nobody_named_are_told_if_it_answers(pods: Pods, say: Say) -> None:
    assert "controlPlane" in (await say("version -o json"))[1]
    pods.commands.clear()
    assert "controlPlane" not in (await say("version --client -o json"))[1]
    assert pods.commands == []
    pods.replicas.clear()
    code, out, err = await say("version -o json")
    assert (code, "controlPlane" in json.loads(out)) == (0, False)
    assert "no control plane runs in namespace lateen-system" in err
    assert (await say("version --context model"))[0] == 2, "who is named has to answer"


# Which mesh


async def test_who_names_nobody_asks_the_mesh_that_runs_here_or_else_the_cluster(
    pods: Pods, say: Say, tmp_path: Path
) -> None:
    code, _, err = await say("proxy-status")
    assert (code, err) == (0, "")
    assert pods.commands
    with state_directory((tmp_path,), "up"):
        pods.commands.clear()
        code, _, err = await say("proxy-status")
        assert code == 2  # nobody listens in this directory
        assert err.startswith("lateen: asking the mesh of this directory; --context asks a cluster\n")
        assert pods.commands == []
        assert (await say("proxy-status --context model"))[2] == ""


async def test_two_meshes_at_once_are_none(say: Say) -> None:
    code, _, err = await say("proxy-status -d . --context model")
    assert code == 2
    assert "not both" in err


async def test_a_tab_asks_a_cluster_only_if_it_is_named(pods: Pods, say: Say) -> None:
    def offered(**typed: str) -> list[str]:
        return connected(SimpleNamespace(params=typed))  # type: ignore[arg-type]

    assert (await say("version --client"))[0] == 0
    assert await asyncio.to_thread(offered) == []
    assert pods.commands == []
    assert await asyncio.to_thread(offered, context="model") == ["cart-1.shop", "edge-1.shop", "front-1.shop"]


# Objects


SERVICE = {
    "metadata": {"name": "cart", "namespace": "shop"},
    "spec": {"selector": {"app": "cart"}, "ports": [{"port": 80, "name": "http"}]},
}
ROUTES = {
    "metadata": {"name": "cart", "namespace": "shop", "resourceVersion": "7"},
    "spec": {"hosts": ["cart"], "http": [{"route": [{"destination": {"host": "cart"}}]}]},
}


async def test_describe_reads_what_its_user_may_read(pods: Pods, say: Say) -> None:
    pods.objects = {
        "/api/v1/services": [SERVICE],
        "/apis/networking.istio.io/v1/virtualservices": [ROUTES],
        "/api/v1/secrets": [{"metadata": {"name": "no", "namespace": "shop"}}],
    }
    pods.forbidden = {"/nodes", "/secrets"}
    code, out, err = await say("describe service shop/cart --context model -o json")
    assert code == 0
    found = json.loads(out)
    assert [rule["object"] for rule in found["rules"]] == ["VirtualService shop/cart"]
    assert err == "lateen: you may not read nodes: they are left out\n"


def test_the_rights_that_are_documented_are_those_on_all_that_is_read() -> None:
    text = (REPOSITORY / "docs" / "kubernetes.md").read_text()
    role, *_ = yaml.safe_load_all(text.partition("```yaml\n")[2].partition("```")[0])
    granted = {(group, plural) for rule in role["rules"] for group in rule["apiGroups"] for plural in rule["resources"]}
    read = {(kind.group, kind.plural) for kind in KINDS if kind.type not in _NOT_READ}
    assert not {(group, plural) for group, plural in read if not granted & {(group, plural), (group, "*")}}
    assert granted <= read | {("networking.istio.io", "*"), ("security.istio.io", "*")}, "and no other"
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"get", "list"}


async def test_wait_until_every_replica_has_read_this_version_and_its_proxies_have_it(pods: Pods, say: Say) -> None:
    pods.objects = {"/apis/networking.istio.io/v1/virtualservices": [ROUTES]}
    first, second = pods.replicas.values()
    wait = "wait vs/cart -n shop --context model --timeout 500ms"
    first.held = {"cart": "7"}  # type: ignore[attr-defined]
    second.held = {"cart": "6"}  # type: ignore[attr-defined]
    code, _, err = await say(wait)
    assert code == 1
    assert "the control plane has not read it" in err
    second.held = {"cart": "7"}  # type: ignore[attr-defined]
    second.states = {"front-1.shop": "STALE"}  # type: ignore[attr-defined]
    code, _, err = await say(wait)
    assert code == 1
    assert "1 of 3 proxies are late: front-1.shop (STALE)" in err
    second.states = {"front-1.shop": "SYNCED"}  # type: ignore[attr-defined]
    assert (await say(wait))[0] == 0
    pods.broken["lateend-b"] = "gone"
    code, _, err = await say(wait)
    assert code == 1
    assert err.count("lateend-b does not answer") == 1, "told once, however often it is asked"
    second.states = {"front-1.shop": "REFUSED"}  # type: ignore[attr-defined]
    del pods.broken["lateend-b"]
    code, out, _ = await say(wait)
    assert code == 1
    assert "REFUSED" in out


async def test_wait_goes_on_when_a_control_plane_is_started_anew(pods: Pods, say: Say) -> None:
    pods.objects = {"/apis/networking.istio.io/v1/virtualservices": [ROUTES]}
    first, _ = pods.replicas.values()
    pods.replicas = {"lateend-a": first}
    asked = 0

    def restarting(target: str) -> tuple[int, Any]:
        nonlocal asked
        asked += 1
        pods.phases["lateend-a"] = "Pending" if asked == 1 else "Running"
        threading.Timer(0.5, lambda: pods.phases.update({"lateend-a": "Running"})).start()
        first.held = {"cart": "7"} if asked > 1 else {}  # type: ignore[attr-defined]
        return first(target)

    pods.replicas = {"lateend-a": restarting}
    assert (await say("wait vs/cart -n shop --context model --timeout 20s"))[0] == 0
    assert asked == 2


async def test_wait_until_no_replica_has_what_is_deleted(pods: Pods, say: Say) -> None:
    first, second = pods.replicas.values()
    second.held = {"cart": "7"}  # type: ignore[attr-defined]
    wait = "wait vs/cart -n shop --for delete --context model --timeout 500ms"
    assert (await say(wait))[0] == 1
    second.held = {}  # type: ignore[attr-defined]
    assert (await say(wait))[0] == 0
    assert first.asked.count("/reached") > 1  # type: ignore[attr-defined]


# Envoys


def held(pem: bytes) -> dict[str, Any]:
    chain = {"inline_bytes": base64.b64encode(pem).decode()}
    return {"name": "kubernetes://cert", "secret": {"tls_certificate": {"certificate_chain": chain}}}


def given(pem: bytes) -> dict[str, Any]:
    found = {"name": "kubernetes://cert", "type": "certificate", "source": "xDS", "status": "given", "why": "elsewhere"}
    chain = [msgspec.to_builtins(one) for one in certificates(pem)]
    return {**found, "certificates": chain, "given": [], "usedBy": {"listeners": ["l"], "clusters": []}}


@pytest.mark.parametrize(
    ("active", "warming", "status"),
    [(SERVER.pem, False, "active"), (ROOT.pem, False, "stale"), (None, True, "warming"), (None, False, "missing")],
)
async def test_an_envoy_says_itself_what_it_uses(
    active: bytes | None, *, warming: bool, status: str, pods: Pods, say: Say
) -> None:
    first, second = pods.replicas.values()
    second.names = ()  # type: ignore[attr-defined]
    first.secrets = second.secrets = [given(SERVER.pem)]  # type: ignore[attr-defined]
    pods.replicas = {"lateend-a": first}

    def envoy(target: str) -> tuple[int, Any]:
        if "active" in target:
            return 200, {"configs": [held(active)] if active is not None else []}
        return 200, {"configs": [{"name": "kubernetes://cert"}] if warming else []}

    pods.envoys = {"edge-1": envoy}
    code, out, _ = await say("proxy-config secrets edge --context model -o yaml")
    assert code == 0
    (found,) = yaml.safe_load(out)
    assert found["status"] == status
    assert (
        "edge-1",
        "istio-proxy",
        ["lateen", "debug", "--envoy", "/config_dump?resource=dynamic_active_secrets"],
    ) in (pods.commands)


async def test_where_an_envoy_may_not_be_asked_what_it_was_given_is_shown(pods: Pods, say: Say) -> None:
    first, _ = pods.replicas.values()
    first.secrets = [given(SERVER.pem)]  # type: ignore[attr-defined]
    pods.replicas, pods.broken = {"lateend-a": first}, {"edge-1": "nobody runs here"}
    code, out, err = await say("proxy-config secrets edge --context model -o json")
    assert (code, json.loads(out)[0]["status"]) == (0, "given")
    assert err == "lateen: the Envoy of edge-1.shop cannot be asked: nobody runs here\n"


async def test_a_proxy_that_is_called_like_a_path_leads_nowhere_else(pods: Pods, say: Say) -> None:
    evil = "../../lateen-system/pods/lateend-a"
    pods.replicas = {"lateend-a": Replica(f"{evil}.shop")}
    pods.envoys = {"lateend-a": lambda _: (200, {"configs": []})}
    assert (await say("proxy-config secrets ../ --context model"))[0] == 0
    assert pods.paths[-1] == f"/api/v1/namespaces/shop/pods/{quote(evil, safe='')}/exec"
    pods.replicas = {"lateend-a": Replica("$(rm x).shop")}
    assert " '$(rm x)' " in (await say("dashboard --context model"))[1]


async def test_a_dashboard_says_what_there_is_and_that_it_has_no_page(say: Say) -> None:
    code, out, err = await say("dashboard --context model -o json")
    assert code == 0
    assert "there is no web page yet" in err
    found = {one["what"]: one["how"] for one in json.loads(out)}
    assert found["what is wrong"] == "lateen problems --context model"
    assert found["Envoy of front-1.shop"] == (
        "kubectl --context model exec -n shop front-1 -c istio-proxy -- lateen debug --envoy /server_info"
    )


# Inside the Pod


def test_the_program_in_the_pod_prints_one_answer_of_the_socket_beside_it(tmp_path: Path) -> None:
    def debug(*words: str) -> tuple[int, str, str]:
        code = "import sys; from controlplane.cli.entrance import main; sys.argv = ['lateen', *sys.argv[1:]]; main()"
        done = subprocess.run(
            [sys.executable, "-c", code, "debug", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    async def answer(query: Mapping[str, str]) -> Any:
        return {"proxy": query["proxy"]}

    async def ask_it() -> list[tuple[int, str, str]]:
        with state_directory((tmp_path,), "serve") as state:
            async with answering(state.debug_socket, {"/config": answer}):
                asked = (("/config?proxy=a%20b",), ("/nothing",), ("config",), ())
                return [await asyncio.to_thread(debug, *words) for words in asked]

    found, unknown, misused, empty = asyncio.run(ask_it())
    assert (found[0], json.loads(found[1])) == (0, {"status": 200, "answer": {"proxy": "a b"}})
    assert (unknown[0], json.loads(unknown[1])["status"]) == (0, 404)
    assert misused == empty == (2, "", "lateen: lateen debug [--envoy] PATH?QUERY\n")
    assert debug("/config") == (2, "", "lateen: nobody runs here\n")
