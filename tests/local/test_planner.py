"""What runs on the laptop, decided from values alone."""

import ipaddress

import pytest

from controlplane.local.addresses import AddressBook
from controlplane.local.objects import Health, endpoint_slices, pod_ref
from controlplane.local.plan import Plan
from controlplane.local.sidecars import POD_LABEL
from controlplane.model.problem import ObjectRef
from tests.local.worlds import deployment, gateway, only, planned, service, sidecar


def codes(plan: Plan) -> list[str]:
    return [problem.code for problem in plan.problems]


def sidecar_of(plan: Plan, index: int = 0):
    replica = plan.replicas[index]
    return plan.objects[ObjectRef("networking.istio.io", "Sidecar", *replica.key)]["spec"]


def slices(plan: Plan, health=None):
    return [
        (manifest["metadata"]["labels"]["kubernetes.io/service-name"], manifest["ports"], manifest["endpoints"])
        for manifest in endpoint_slices(plan, health or {}).values()
    ]


# --- replicas and addresses ----------------------------------------------------------------------------------------


def test_every_replica_has_a_loopback_address_of_its_own() -> None:
    plan = planned(deployment(replicas=40))
    addresses = {replica.address for replica in plan.replicas}
    assert len(addresses) == 40
    assert all(ipaddress.ip_address(address).is_loopback for address in addresses)
    assert not any(address.startswith("127.0.") for address in addresses)


def test_the_same_directory_gets_the_same_addresses_and_another_one_others() -> None:
    first, again, elsewhere = (planned(deployment(), mesh=mesh) for mesh in ("a", "a", "b"))
    assert only(first) == only(again)
    assert only(first).address != only(elsewhere).address


def test_no_address_is_given_twice_even_when_digests_collide() -> None:
    book = AddressBook("m")
    given = {book.address(str(n)) for n in range(20_000)}
    assert len(given) == 20_000
    assert book.address("7") == book.address("7")


def test_scaling_keeps_the_replicas_there_are() -> None:
    two, three = planned(deployment(replicas=2)), planned(deployment(replicas=3))
    assert three.replicas[:2] == two.replicas


def test_another_deployment_does_not_touch_the_first() -> None:
    other = deployment("other", labels="{app: other}")
    assert only(planned(deployment())) in planned(deployment() + other).replicas


def test_a_changed_template_means_new_replicas_and_a_statefulset_keeps_its_names() -> None:
    old, new = deployment(), deployment(container="{name: app, command: [run, faster]}")
    assert only(planned(old)).name != only(planned(new)).name
    stateful = [text.replace("kind: Deployment", "kind: StatefulSet") for text in (old, new)]
    first, second = (only(planned(text)) for text in stateful)
    assert first.name == second.name == "bill-0"
    assert first.identity != second.identity


def test_replicas_zero_is_honoured_and_absent_is_one() -> None:
    assert planned(deployment(replicas=0)).replicas == ()
    assert len(planned(deployment().replace("replicas: 1", "paused: false")).replicas) == 1


def test_a_zero_too_many_is_an_error_and_does_not_fill_the_machine() -> None:
    plan = planned(deployment(replicas=1_000_000_000))
    assert len(plan.replicas) == 100
    (problem,) = plan.problems
    assert (problem.level, problem.origin.path) == ("error", "spec.replicas")
    assert "1000000000 replicas" in problem.message


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_a_port_that_is_none_is_named_and_its_neighbours_run(port: int) -> None:
    bad = deployment("bad", container=f"{{name: c, command: [run], ports: [{{containerPort: {port}}}]}}")
    wrong_service = service("wrong", ports=f"[{{port: {port}}}]")
    plan = planned(deployment() + bad + wrong_service + gateway(port=f"{{number: {port}, name: a, protocol: HTTP}}"))
    assert [replica.workload.name for replica in plan.replicas] == ["bill"]
    assert codes(plan) == ["InvalidField", "InvalidField"]
    assert plan.problems[1].origin.path == "spec.template.spec.containers[0].ports[0].containerPort"
    assert plan.problems[1].message.startswith("is not run: expected a number ")
    assert plan.gateways[0].ports == ()


def test_a_pod_of_its_own_is_run_under_its_name() -> None:
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: demo}\nspec: {containers: [{command: [run]}]}"
    assert only(planned(text)).name == "p"


@pytest.mark.parametrize(("api", "kind"), [("apps/v1", "DaemonSet"), ("batch/v1", "Job"), ("batch/v1", "CronJob")])
def test_kinds_that_are_not_run_say_so(api: str, kind: str) -> None:
    plan = planned(f"apiVersion: {api}\nkind: {kind}\nmetadata: {{name: x}}")
    assert (plan.replicas, codes(plan)) == ((), ["NotRunLocally"])


def test_a_deployment_that_cannot_be_read_is_named_and_the_others_run() -> None:
    plan = planned(deployment("broken", replicas="many") + deployment())  # type: ignore[arg-type]
    assert [replica.workload.name for replica in plan.replicas] == ["bill"]
    assert codes(plan) == ["InvalidField"]
    assert plan.problems[0].origin.path == "spec.replicas"
    assert plan.problems[0].message == "is not run: expected a number, got a string"


# --- ports ---------------------------------------------------------------------------------------------------------


def test_a_low_port_is_bound_above_and_the_command_has_one_of_its_own() -> None:
    container = "{name: app, command: [run], ports: [{containerPort: 80, name: web}, {containerPort: 9000}]}"
    ports = only(planned(deployment(container=container))).ports
    assert [(port.container, port.name, port.inbound) for port in ports] == [(80, "web", 10080), (9000, "", 9000)]
    everything = [number for port in ports for number in (port.inbound, port.command)]
    assert len(set(everything)) == 4
    assert min(everything) >= 1024


def test_ports_that_others_hold_on_every_address_are_avoided() -> None:
    container = "{name: app, command: [run], ports: [{containerPort: 9000}]}"
    (port,) = only(planned(deployment(container=container), busy=frozenset({9000, 9001, 29000}))).ports
    assert (port.inbound, port.command) == (9002, 29001)
    assert only(planned(deployment(), busy=frozenset({15080}))).http_proxy_port == 15081


def test_a_port_that_only_a_service_names_is_a_port_of_the_replica() -> None:
    plan = planned(deployment() + service(ports="[{name: http, port: 9999, targetPort: 80}]"))
    assert [port.container for port in only(plan).ports] == [80]
    ((name, ports, endpoints),) = slices(plan)
    assert (name, ports[0]["port"], endpoints[0]["addresses"]) == ("bill", 10080, [only(plan).address])


def test_named_target_ports_are_found_and_unknown_ones_are_a_problem() -> None:
    container = "{name: app, command: [run], ports: [{containerPort: 8080, name: web}]}"
    good = service(ports="[{name: http, port: 80, targetPort: web}]")
    assert slices(planned(deployment(container=container) + good))[0][1][0]["port"] == 8080
    bad = planned(deployment(container=container) + good.replace("targetPort: web", "targetPort: wbe"))
    assert codes(bad) == ["UnknownTargetPort"]
    assert slices(bad)[0][1] == []


def test_udp_is_none_of_our_business() -> None:
    container = "{name: app, command: [run], ports: [{containerPort: 53, protocol: UDP}]}"
    plan = planned(deployment(container=container) + service(ports="[{port: 53, protocol: UDP}]"))
    assert only(plan).ports == ()


# --- commands and environment --------------------------------------------------------------------------------------


def env_of(plan: Plan):
    return only(plan).processes[0].env


def test_the_environment_is_a_contract() -> None:
    container = "{name: app, command: [run], ports: [{containerPort: 90, name: web-ui}, {containerPort: 80, name: x}]}"
    plan = planned(deployment(container=container))
    replica, env = only(plan), env_of(plan)
    assert env["HOST"] == replica.address
    assert env["PORT"] == env["PORT_web_ui"] == str(replica.ports[0].command)
    assert env["PORT_x"] == str(replica.ports[1].command)
    assert env["http_proxy"] == f"http://{replica.address}:15080"


def test_placeholders_are_filled_in_and_nothing_else_is_touched() -> None:
    container = "{name: app, ports: [{containerPort: 80, name: web}]}"
    plan = planned(
        deployment(container=container),
        "commands: {bill: ['{python}', s.py, '{host}:{port}', '{port_web}', '{other}', '%s {0} $HOME']}",
    )
    replica = only(plan)
    port = replica.ports[0].command
    expected = ("/usr/bin/python3", "s.py", f"{replica.address}:{port}", str(port), "{other}", "%s {0} $HOME")
    assert replica.processes[0].argv == expected
    assert replica.processes[0].directory == "/somewhere"


def test_lateen_yaml_wins_over_the_containers_own_command_and_the_longer_name_over_the_shorter() -> None:
    file = "commands: {bill: short, demo/bill: {run: long arg, directory: sub, env: {A: b}}}"
    (process,) = only(planned(deployment(), file)).processes
    assert (process.argv, process.directory, process.env["A"]) == (("long", "arg"), "/somewhere/sub", "b")


def test_without_an_entry_the_containers_own_command_is_used() -> None:
    container = "{name: app, command: [run, $(HOST), $$(HOST), $(UNKNOWN)], args: [$(A)x], env: [{name: A, value: b}]}"
    replica = only(planned(deployment(container=container)))
    assert replica.processes[0].argv == ("run", replica.address, "$(HOST)", "$(UNKNOWN)", "bx")


@pytest.mark.parametrize(
    ("container", "file", "words"),
    [
        ("{name: app, image: 'nginx:1'}", "", "its image (nginx:1) does not say what to run here"),
        ("{name: app, command: [nowhere]}", "", "'nowhere' is no program that can be run"),
        ("{name: app}", "commands: {bill: nowhere}", "'nowhere' (Lateenfile) is no program that can be run"),
    ],
)
def test_a_missing_command_is_a_problem_that_says_what_to_do(container: str, file: str, words: str) -> None:
    plan = planned(deployment(container=container, replicas=2), file)
    assert codes(plan) == ["NoLocalCommand"]
    assert words in plan.problems[0].message
    assert {replica.missing for replica in plan.replicas} == {plan.problems[0].message}


def test_a_misspelt_name_in_lateen_yaml_is_found() -> None:
    plan = planned(deployment(), "commands: {demo/bil: run}")
    assert plan.problems[0].code == "UnknownDeployment"
    assert "did you mean 'demo/bill'?" in plan.problems[0].message


def test_variables_from_the_pod_and_from_config_are_resolved() -> None:
    container = """{name: app, command: [run], env: [
      {name: ME, valueFrom: {fieldRef: {fieldPath: metadata.name}}},
      {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}},
      {name: APP, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}},
      {name: NOTED, valueFrom: {fieldRef: {fieldPath: "metadata.annotations['noted']"}}},
      {name: C, valueFrom: {configMapKeyRef: {name: c, key: k}}},
      {name: S, valueFrom: {secretKeyRef: {name: s, key: k}}},
      {name: GONE, valueFrom: {secretKeyRef: {name: s, key: gone, optional: true}}},
      {name: BOTH, value: $(C)-$(S)}],
      envFrom: [{configMapRef: {name: c}}, {prefix: S_, secretRef: {name: s}}, {secretRef: {name: x, optional: true}}]}"""
    extra = """
apiVersion: v1
kind: ConfigMap
metadata: {name: c, namespace: demo}
data: {k: config}
---
apiVersion: v1
kind: Secret
metadata: {name: s, namespace: demo}
data: {k: c2VjcmV0}
"""
    plan = planned(deployment(container=container, annotations="{noted: well}") + extra)
    env, replica = env_of(plan), only(plan)
    found = tuple(env[name] for name in ("ME", "IP", "APP", "NOTED", "C", "S", "BOTH", "k", "S_k"))
    expected = (replica.name, replica.address, "bill", "well", "config", "secret", "config-secret", "config", "secret")
    assert found == expected
    assert "GONE" not in env
    assert plan.problems == ()


def test_a_variable_without_its_source_is_a_problem_once() -> None:
    container = """{name: app, command: [run], env: [{name: A, valueFrom: {configMapKeyRef: {name: c, key: gone}}},
      {name: B, valueFrom: {secretKeyRef: {name: s, key: k}}}], envFrom: [{configMapRef: {name: gone}}]}"""
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: demo}\ndata: {k: v}\n"
    plan = planned(deployment(container=container, replicas=3) + config)
    at = "spec.template.spec.containers[0]"
    assert [(problem.level, problem.origin.path, problem.message) for problem in plan.problems] == [
        ("warning", f"{at}.envFrom[0]", "there is no ConfigMap demo/gone: its variables are not set"),
        ("warning", f"{at}.env[0].valueFrom", "ConfigMap demo/c has no key 'gone': A is not set"),
        ("warning", f"{at}.env[1].valueFrom", "there is no Secret demo/s: B is not set"),
    ]


# --- what a kubelet would do and we do not -------------------------------------------------------------------------

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: p, namespace: demo}}
spec:
  containers: [{{name: app, command: [run], {app}}}]
  volumes: [{{name: tmp, emptyDir: {{}}}}, {{name: conf, configMap: {{name: c}}}}]
  {pod}
"""


@pytest.mark.parametrize(
    ("app", "pod", "level", "field", "words"),
    [
        ("", "initContainers: [{name: fetch}]", "warning", "initContainers", "are not run here (fetch)"),
        ("", "hostAliases: [{ip: 1.2.3.4, hostnames: [a]}]", "warning", "hostAliases", "/etc/hosts"),
        ("", "terminationGracePeriodSeconds: 60", "info", "terminationGracePeriodSeconds", "5 seconds to end"),
        ("livenessProbe: {tcpSocket: {port: 1}}", "", "info", "containers[0].livenessProbe", "not looked at"),
        ("startupProbe: {tcpSocket: {port: 1}}", "", "info", "containers[0].startupProbe", "not looked at"),
        ("resources: {limits: {cpu: 1}}", "", "info", "containers[0].resources", "takes what it takes"),
        ("securityContext: {runAsUser: 5}", "", "info", "containers[0].securityContext", "run as you"),
        ("lifecycle: {preStop: {exec: {}}}", "", "info", "containers[0].lifecycle.preStop", "is not run here"),
        ("lifecycle: {postStart: {exec: {}}}", "", "warning", "containers[0].lifecycle.postStart", "do by hand"),
        (
            "volumeMounts: [{name: conf, mountPath: /etc/app}, {name: tmp, mountPath: /tmp/x}]",
            "",
            "warning",
            "containers[0].volumeMounts",
            "at /etc/app (ConfigMap c), /tmp/x (volume tmp): put there what",
        ),
        ("volumeMounts: [{name: tmp, mountPath: /x}]", "", "info", "containers[0].volumeMounts", "/x (volume tmp)"),
    ],
)
def test_what_a_kubelet_would_do_and_we_do_not_is_said(app, pod, level, field, words) -> None:
    (problem,) = planned(POD.format(app=app, pod=pod)).problems
    assert (problem.code, problem.level, problem.origin.path) == ("NotRunLocally", level, f"spec.{field}")
    assert str(problem.origin.ref) == "Pod demo/p"
    assert words in problem.message


def test_what_an_ordinary_pod_says_is_no_problem() -> None:
    app = "imagePullPolicy: Always, readinessProbe: {grpc: {port: 1}}, terminationMessagePath: /x"
    assert planned(POD.format(app=app, pod="restartPolicy: Always")).problems == ()


def test_a_command_in_lateen_yaml_stands_for_what_its_container_would_mount() -> None:
    pod = POD.format(app="volumeMounts: [{name: conf, mountPath: /etc/app}]", pod="")
    assert planned(pod, "commands: {p: run}").problems == ()


def test_a_second_container_without_a_command_is_said_not_to_run() -> None:
    plan = planned(deployment(container="{name: app, command: [run]}, {name: istio-proxy}, {name: b, image: 'b:1'}"))
    (problem,) = plan.problems
    assert problem.origin.path == "spec.template.spec.containers[2]"
    assert "container 'b' is not run" in problem.message
    assert [process.container for process in only(plan).processes] == ["app"]


# --- Sidecars ------------------------------------------------------------------------------------------------------


def test_the_sidecar_of_a_replica_owns_its_ports_and_forwards_to_the_command() -> None:
    plan = planned(deployment() + service(ports="[{name: http, port: 9999, targetPort: 80}]"))
    replica = only(plan)
    port = replica.ports[0]
    spec = sidecar_of(plan)
    assert spec["workloadSelector"] == {"labels": {POD_LABEL: replica.name}}
    assert spec["ingress"] == [
        {
            "port": {"number": 10080, "protocol": "HTTP", "name": "http-80"},
            "bind": replica.address,
            "captureMode": "NONE",
            "defaultEndpoint": f"0.0.0.0:{port.command}",
        }
    ]
    assert spec["egress"] == [{"hosts": ["*/*"]}]
    assert plan.objects[pod_ref(*replica.key)]["metadata"]["labels"][POD_LABEL] == replica.name


def test_tcp_services_of_the_namespace_are_reached_through_listeners_that_variables_name() -> None:
    text = (
        deployment()
        + service("ledger-db", ports="[{name: tcp-sql, port: 5432}]", selector="{app: db}")
        + service("other", ports="[{name: tcp-a, port: 5432}, {name: tcp-b, port: 5433}]", selector="{app: db}")
        + service("low", ports="[{name: tcp, port: 22}]", selector="{app: db}")
        + service("web", ports="[{name: http, port: 81}]", selector="{app: web}")
        + service("far", ports="[{name: tcp, port: 7000}]", namespace="elsewhere")
    )
    plan = planned(text)
    env, replica = env_of(plan), only(plan)
    assert env["LEDGER_DB_SERVICE_HOST"] == env["OTHER_SERVICE_HOST"] == env["LOW_SERVICE_HOST"] == replica.address
    assert env["LEDGER_DB_SERVICE_PORT"] == env["LEDGER_DB_SERVICE_PORT_TCP_SQL"] == "5432"
    assert env["OTHER_SERVICE_PORT"] == "5434"  # 5432 is taken on the replica's address, 5433 its own other port
    assert env["LOW_SERVICE_PORT"] == "10022"
    assert not [name for name in env if name.startswith(("WEB_", "FAR_"))]
    listeners = sidecar_of(plan)["egress"]
    assert [(one["port"]["number"], one["port"]["name"], one["bind"], one["hosts"]) for one in listeners[:-1]] == [
        (5432, "tcp-sql", replica.address, ["demo/ledger-db.demo.svc.cluster.local"]),
        (10022, "tcp", replica.address, ["demo/low.demo.svc.cluster.local"]),
        (5434, "tcp-a", replica.address, ["demo/other.demo.svc.cluster.local"]),
        (5433, "tcp-b", replica.address, ["demo/other.demo.svc.cluster.local"]),
    ]


def test_a_new_tcp_service_does_not_restart_anybody() -> None:
    before = only(planned(deployment()))
    after = only(planned(deployment() + service("db", ports="[{name: tcp, port: 1}]", selector="{app: db}")))
    assert (before.name, before.identity) == (after.name, after.identity)
    assert before.listeners != after.listeners


def test_the_users_sidecar_still_holds() -> None:
    users = sidecar(
        "{workloadSelector: {labels: {app: bill}}, outboundTrafficPolicy: {mode: REGISTRY_ONLY},"
        " egress: [{hosts: [./*]}, {port: {number: 99, protocol: HTTP}, hosts: [x/*]},"
        " {port: {number: 3306, protocol: MYSQL}, bind: 127.0.0.1, hosts: ['*/db.com']}]}"
    )
    plan = planned(deployment() + users)
    spec = sidecar_of(plan)
    assert spec["outboundTrafficPolicy"] == {"mode": "REGISTRY_ONLY"}
    assert spec["egress"][0]["bind"] == only(plan).address
    assert spec["egress"][1] == {"hosts": ["./*", "x/*"]}
    assert plan.withheld == {ObjectRef("networking.istio.io", "Sidecar", "demo", "own")}


@pytest.mark.parametrize(
    ("sidecars", "mode"),
    [
        ([("own", "demo", "{app: bill}"), ("all", "demo", ""), ("all", "istio-system", "")], "own/demo"),
        ([("own", "demo", "{app: x}"), ("all", "demo", ""), ("all", "istio-system", "")], "all/demo"),
        ([("own", "other", "{app: bill}"), ("all", "istio-system", "")], "all/istio-system"),
    ],
)
def test_which_of_the_users_sidecars_holds(sidecars, mode: str) -> None:
    text = "".join(
        sidecar(
            f"{{outboundTrafficPolicy: {{mode: {name}/{namespace}}}"
            + (f", workloadSelector: {{labels: {labels}}}}}" if labels else "}"),
            name,
            namespace,
        )
        for name, namespace, labels in sidecars
    )
    assert sidecar_of(planned(deployment() + text))["outboundTrafficPolicy"] == {"mode": mode}


def test_a_users_ingress_listener_leads_to_the_application_port_it_names() -> None:
    users = sidecar("{ingress: [{port: {number: 9080, protocol: HTTP}, defaultEndpoint: '127.0.0.1:8080'}]}")
    container = "{name: app, command: [run], ports: [{containerPort: 8080}]}"
    replica = only(planned(deployment(container=container) + users))
    front, app = replica.port(9080), replica.port(8080)
    assert front
    assert app
    assert (front.inbound, front.command) == (9080, app.command)


# --- endpoints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "conditions"),
    [
        (None, (False, False, False)),
        (Health.STARTING, (False, False, False)),
        (Health.READY, (True, True, False)),
        (Health.UNREADY, (False, False, False)),
        (Health.TERMINATING, (False, True, True)),
    ],
)
def test_only_ready_replicas_are_ready_endpoints(state, conditions) -> None:
    plan = planned(deployment() + service())
    health = {only(plan).key: state} if state else {}
    ((_, _, endpoints),) = slices(plan, health)
    assert tuple(endpoints[0]["conditions"][name] for name in ("ready", "serving", "terminating")) == conditions


def test_a_service_may_publish_replicas_that_are_not_ready() -> None:
    text = deployment() + service().replace("spec: {", "spec: {publishNotReadyAddresses: true, ")
    assert slices(planned(text))[0][2][0]["conditions"]["ready"] is True


def test_replicas_with_other_port_numbers_are_in_a_slice_of_their_own() -> None:
    ports = "[{name: http, port: 80, targetPort: web}]"
    containers = [f"{{name: app, command: [run], ports: [{{containerPort: {n}, name: web}}]}}" for n in (8080, 9090)]
    text = deployment("one", container=containers[0]) + deployment("two", container=containers[1])
    found = slices(planned(text + service(ports=ports)))
    assert [(ports[0]["port"], len(endpoints)) for _, ports, endpoints in found] == [(8080, 1), (9090, 1)]


def test_selectors_stay_in_their_namespace_and_an_empty_one_selects_nothing() -> None:
    text = deployment() + service("far", namespace="elsewhere") + service("none", selector="{}")
    assert slices(planned(text)) == []


# --- gateways ------------------------------------------------------------------------------------------------------


def test_a_selector_nobody_answers_to_gets_an_envoy_where_people_look_first() -> None:
    plan = planned(gateway())
    (proxy,) = plan.gateways
    assert (proxy.key, proxy.address) == (("istio-system", "istio-ingressgateway"), "127.0.0.1")
    assert [(port.number, port.bound) for port in proxy.ports] == [(80, 10080)]
    labels = plan.objects[pod_ref(*proxy.key)]["metadata"]["labels"]
    assert labels == {"istio": "ingressgateway"}


def test_gateways_with_one_selector_share_an_envoy_and_others_have_another() -> None:
    text = gateway() + gateway("tls", port="{number: 443, name: https, protocol: HTTPS}") + gateway("b", "{app: b}")
    shared = {proxy.name: [port.bound for port in proxy.ports] for proxy in planned(text).gateways}
    assert shared == {"b": [10080], "istio-ingressgateway": [10080, 10443]}
    assert len({proxy.address for proxy in planned(text).gateways}) == 2


def ingress(spec: str) -> str:
    return f"""---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: shop, namespace: demo}}
spec: {spec}
"""


def test_ingresses_of_ours_have_a_gateway_and_share_it_with_others() -> None:
    ours, theirs = "ingressClassName: lateen", "ingressClassName: nginx"
    (own,) = planned(ingress(f"{{{ours}, tls: [{{secretName: c}}]}}")).gateways
    assert (own.labels, [port.bound for port in own.ports]) == ({"istio": "ingressgateway"}, [10080, 10443])
    (shared,) = planned(gateway() + ingress(f"{{{ours}}}")).gateways
    assert [port.bound for port in shared.ports] == [10080]
    assert planned(ingress(f"{{{theirs}}}")).gateways == ()
    classless = planned(ingress("{}"), "meshConfig: {ingressControllerMode: DEFAULT, ingressSelector: edge}")
    assert [proxy.labels for proxy in classless.gateways] == [{"istio": "edge"}]


def test_a_deployment_made_for_gateway_injection_is_the_gateway() -> None:
    own = deployment(
        "edge",
        3,
        "{name: istio-proxy, image: auto}",
        "{istio: edge}",
        annotations="{inject.istio.io/templates: gateway}",
    )
    plan = planned(own + gateway(selector="{istio: edge}"))
    assert plan.replicas == ()
    (proxy,) = plan.gateways
    assert (proxy.key, proxy.labels) == (("demo", "edge"), {"istio": "edge"})


def test_the_namespace_of_gateways_can_be_said() -> None:
    assert planned(gateway(), "gatewayNamespace: edge").gateways[0].namespace == "edge"


def test_two_ports_that_would_be_bound_at_one_are_a_problem() -> None:
    text = gateway() + gateway("b", port="{number: 10080, name: b, protocol: HTTP}")
    assert codes(planned(text)) == ["PortInUse"]
