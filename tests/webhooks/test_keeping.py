"""The keeper of a webhook configuration: puts it right, says what it cannot, and looks when the roots change."""

import asyncio
import json
from typing import Any

import msgspec
import pytest
from aiohttp import web
from kubernetes.aio.client import AdmissionregistrationV1Api

from controlplane.app.webhooks import WebhookConfigurations, open_webhooks
from controlplane.runtime.clock import SystemClock
from controlplane.runtime.tasks import Supervisor
from controlplane.webhooks.configurations import Service, injection
from controlplane.webhooks.injection.settings import InjectionSettings
from controlplane.webhooks.injection.webhook import InjectionWebhook
from controlplane.webhooks.keeping import ConfigurationKeeper, NotKept
from tests.runtime.test_https import asked, generation
from tests.security.apiservers import api_server
from tests.webhooks.patching import applied
from tests.webhooks.test_webhook import review

NAME = "lateen-sidecar-injector"
SERVICE = Service("lateen-system", "lateend", "/inject/x")


def wanted(roots: bytes = b"roots") -> dict[str, Any]:
    return injection(NAME, InjectionSettings(), SERVICE, roots)


class Stored:
    """An API server with one configuration, which patches as RFC 6902 says."""

    def __init__(self, configuration: Any) -> None:
        self.configuration = configuration
        self.patches = 0
        self.status = 200

    async def __call__(self, request: web.Request, body: Any) -> web.StreamResponse:
        assert request.path == f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{NAME}"
        if self.status != 200:
            return web.json_response({"kind": "Status"}, status=self.status)
        if self.configuration is None:
            return web.json_response({"kind": "Status"}, status=404)
        if request.method == "PATCH":
            assert request.headers["Content-Type"] == "application/json-patch+json"
            for step in body:
                if step["op"] == "test":
                    at = step["path"].split("/")
                    assert self.configuration["webhooks"][int(at[2])][at[3]] == step["value"]
                else:
                    self.configuration = applied(self.configuration, [step])
            self.patches += 1
        return web.json_response(self.configuration)


def copied(value: Any) -> Any:
    return json.loads(json.dumps(value))


async def test_a_wrong_bundle_is_put_right_once() -> None:
    stored = Stored(wanted(b"somebody else's"))
    async with api_server(stored) as client:
        keeper = ConfigurationKeeper(WebhookConfigurations(AdmissionregistrationV1Api(client), "mutating"), wanted)
        await keeper.look()
        assert stored.configuration["webhooks"] == copied(wanted()["webhooks"])
        await keeper.look()
    assert (stored.patches, keeper.repairs) == (1, 1)


async def test_it_looks_when_the_roots_change_and_every_few_seconds() -> None:
    stored, roots = Stored(wanted(b"first")), [b"first"]
    async with api_server(stored) as client, Supervisor(SystemClock()) as tasks:
        configurations = WebhookConfigurations(AdmissionregistrationV1Api(client), "mutating")
        keeper = ConfigurationKeeper(configurations, lambda: wanted(roots[0]), every=0.05)
        tasks.critical("keeper", keeper.run)
        stored.configuration["webhooks"][0]["clientConfig"]["caBundle"] = ""
        await until(lambda: stored.configuration == copied(wanted(b"first")))
        slow = ConfigurationKeeper(configurations, lambda: wanted(b"second"), every=3600.0)
        roots[0] = b"second"
        tasks.critical("slow keeper", slow.run)
        slow.changed()
        await until(lambda: stored.configuration == copied(wanted(b"second")))


async def until(holds: Any) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  what is waited for is in another task's HTTP
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("configuration", "status", "said"),
    [
        (None, 200, "there is none"),
        (wanted(), 403, "we may not"),
        (wanted(), 500, "cannot be read, status 500"),
        ([], 200, "no webhook configuration"),
        ({**wanted(), "webhooks": wanted()["webhooks"][:3]}, 200, "not as installed: webhooks[object."),
    ],
    ids=["gone", "no rights", "broken", "nonsense", "an entry is gone"],
)
async def test_what_cannot_be_put_right_is_said_once(configuration, status, said, caplog, capsys) -> None:
    stored = Stored(configuration)
    stored.status = status
    async with api_server(stored) as client:
        keeper = ConfigurationKeeper(WebhookConfigurations(AdmissionregistrationV1Api(client), "mutating"), wanted)
        await keeper.look()
        await keeper.look()
        told = capsys.readouterr().out
        assert told.count(said) == 1
        stored.configuration, stored.status = wanted(), 200
        await keeper.look()
    assert "as it should be" in capsys.readouterr().out
    assert keeper.repairs == 0


async def test_a_patch_that_is_refused_is_said() -> None:
    async def answer(request: web.Request, _body: Any) -> web.StreamResponse:
        return web.json_response(wanted(b"x"), status=200 if request.method == "GET" else 422)

    async with api_server(answer) as client:
        configurations = WebhookConfigurations(AdmissionregistrationV1Api(client), "mutating")
        with pytest.raises(NotKept, match="cannot be patched, status 422"):
            await configurations.patch(NAME, ())


async def test_webhooks_have_a_port_of_their_own_and_follow_the_certificate() -> None:
    class Generations:
        def __init__(self) -> None:
            self.followers: list[Any] = []

        def read(self) -> Any:
            return generation()

        def follow(self, changed: Any) -> None:
            self.followers.append(changed)

    generations = Generations()
    webhook = InjectionWebhook(InjectionSettings, "/inject/x")
    async with (
        Supervisor(SystemClock()) as tasks,
        open_webhooks(webhook.routes(), generations, tasks, "127.0.0.1", 0) as port,
    ):
        assert len(generations.followers) == 1
        generations.followers[0](generation())
        status, found = await asked(port, "POST /inject/x HTTP/1.1", msgspec.json.encode(review()))
    assert status == 200
    assert found["response"]["allowed"] is True
