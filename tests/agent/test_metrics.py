"""Merged metrics of a real agent, a real Envoy and an application that may be anything."""

import json
import time
from datetime import UTC, datetime

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from tests.agent.agents import RunningAgent, running
from tests.agent.applications import Application, answer
from tests.agent.bootstraps import documents
from tests.agent.endpoint import Endpoint
from tests.envoys.upstreams import loopback_address

TEXT = "Content-Type: text/plain; version=0.0.4"
OPEN = "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8"
ACCEPT_OPEN = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
OURS = "lateen_agent_certificates_total"
ENVOYS = "envoy_server_live"


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """An agent beside an Envoy and an application, for all of these."""
    folder, address = tmp_path_factory.mktemp("metrics"), loopback_address()
    with Application(address) as application, Endpoint(folder, files=documents(address, 8443)) as endpoint:
        scrape = json.dumps({"scrape": "true", "path": "/own/metrics?all=1", "port": str(application.port)})
        environment = {"ISTIO_PROMETHEUS_ANNOTATIONS": scrape}
        with running(endpoint, folder / "agent", address=address, environment=environment) as agent:
            agent.wait_until_ready()
            yield agent, application


def page(agent: RunningAgent, **headers: str) -> tuple[str, str]:
    status, body, response = agent.get("/stats/prometheus", headers=headers)
    assert status == 200
    return body, response.getheader("Content-Type") or ""


def failures(agent: RunningAgent, source: str) -> float:
    return agent.metric(f'lateen_agent_scrape_failures_total{{source="{source}"}}')


def test_all_three_are_on_one_page(beside):
    agent, application = beside
    application.reply = lambda _: answer(b"# TYPE calls counter\ncalls 17\n", TEXT)
    body, kind = page(agent, **{"User-Agent": "Prometheus/3", "X-Prometheus-Scrape-Timeout-Seconds": "9"})
    assert kind == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name for family in text_families(body)}
    assert {"lateen_agent_certificates", ENVOYS, "calls"} <= families
    asked = application.asked[-1]
    assert (asked.path, asked.headers["user-agent"]) == ("/own/metrics?all=1", "Prometheus/3")
    assert asked.headers["x-prometheus-scrape-timeout-seconds"] == "9"


def test_an_application_that_speaks_openmetrics_makes_the_page_so(beside):
    agent, application = beside
    application.reply = lambda _: answer(b'# TYPE calls counter\ncalls_total 17 # {trace_id="ab"} 1.0\n# EOF\n', OPEN)
    body, kind = page(agent, **ACCEPT_OPEN)
    assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert application.asked[-1].headers["accept"].startswith("application/openmetrics-text")
    families = {family.name: family for family in open_families(body)}
    assert {OURS, ENVOYS, "calls"} <= set(families)
    assert families["calls"].samples[0].exemplar is not None
    assert body.endswith("\n# EOF\n")
    assert body.count("# EOF") == 1


BAD = {
    "nobody": None,
    "an error": answer(b"calls 17\n", TEXT, status="500 No"),
    "a page of HTML": answer(b"<html>calls 17</html>", "Content-Type: text/html"),
    "protobuf": answer(b"\x0a\x05calls", "Content-Type: application/vnd.google.protobuf"),
    "compressed": answer(b"calls 17\n", TEXT, "Content-Encoding: gzip"),
    "no HTTP": b"calls 17\n",
    "nothing": b"",
    "half": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf 1\nhal",
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_application_hides_nobody(beside, what):
    agent, application = beside
    content = BAD[what] or b""
    application.reply = lambda _: content
    before = failures(agent, "application")
    body, _ = page(agent)
    families = {family.name for family in text_families(body)}
    assert {"lateen_agent_certificates", ENVOYS} <= families
    assert "calls" not in families
    assert ("half" in families) == (what == "half")
    assert failures(agent, "application") > before


def test_lines_that_are_none_are_left_out_and_counted(beside):
    agent, application = beside
    application.reply = lambda _: answer(b"calls 17\ncalls{\nenvoy_server_live 9\nother 1", TEXT)
    before = agent.metric("lateen_agent_scrape_dropped_lines_total")
    body, _ = page(agent)
    families = {family.name: family for family in text_families(body)}
    assert {"calls", "other"} <= set(families)
    assert families[ENVOYS].samples[0].value == 1
    assert agent.metric("lateen_agent_scrape_dropped_lines_total") >= before + 2


def test_a_slow_application_has_half_of_the_time(beside):
    agent, application = beside
    application.held.clear()
    try:
        began = time.monotonic()
        body, _ = page(agent, **{"X-Prometheus-Scrape-Timeout-Seconds": "2"})
        assert time.monotonic() - began < 1.9
        assert ENVOYS in {family.name for family in text_families(body)}
    finally:
        application.held.set()


def test_a_page_of_many_megabytes_is_passed_on_and_not_kept(beside):
    agent, application = beside
    lines = b"".join(b'calls{path="/%06d"} 1\n' % number for number in range(300_000))
    application.reply = lambda _: answer(lines, TEXT)
    body, _ = page(agent, **{"X-Prometheus-Scrape-Timeout-Seconds": "50"})
    assert body.count("calls{") == 300_000
    assert agent.memory() < 40 * 1024


def test_envoy_that_is_gone_hides_nobody(tmp_path, idle_envoy):
    address = loopback_address()
    with Application(address) as application, Endpoint(tmp_path) as endpoint:
        application.reply = lambda _: answer(b"calls 17\n", TEXT)
        scrape = json.dumps({"port": str(application.port)})
        with running(endpoint, tmp_path / "agent", address=address, envoy=idle_envoy, scrape=scrape) as agent:
            agent.said("certificate")
            families = {family.name for family in text_families(page(agent)[0])}
            assert "calls" in families
            assert application.asked[-1].path == "/metrics"
            assert failures(agent, "envoy") >= 1


@pytest.mark.parametrize("role", ["sidecar", "router"])
def test_where_there_is_nothing_to_scrape_nothing_is_asked(tmp_path, idle_envoy, role):
    """Annotations that say no; and gateways, whose Services have the status port."""
    address = loopback_address()
    with Application(address) as application, Endpoint(tmp_path) as endpoint:
        scrape = json.dumps({"port": str(application.port), "scrape": "false" if role == "sidecar" else "true"})
        with running(
            endpoint, tmp_path / "agent", role=role, address=address, envoy=idle_envoy, scrape=scrape
        ) as agent:
            agent.said("certificate")
            assert OURS in page(agent)[0]
            assert application.connections == 0


def test_what_the_agent_says_of_itself(beside):
    agent, application = beside
    application.reply = lambda _: answer(b"", TEXT)
    ends = agent.metric("lateen_agent_certificate_expiry_timestamp_seconds")
    assert 3000 < ends - datetime.now(UTC).timestamp() < 3700
    assert agent.metric("lateen_agent_certificates_total") == 1
    assert agent.metric("lateen_agent_certificate_trouble") == 0
    assert agent.metric("lateen_agent_report_pending") == 0
    assert 20e6 < agent.metric("lateen_agent_resident_memory_bytes") < 40 * 1024 * 1024
