"""As in a cluster: two control planes on one Secret, callers with projected tokens, the bundle written elsewhere.

Nothing is different but what is passed in.
"""

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient, AuthenticationV1Api, CoreV1Api

from controlplane.app.control import open_control_plane
from controlplane.app.identity import SECRETS, IdentityService, IdentitySettings, open_identity
from controlplane.model.settings import Settings
from controlplane.runtime.clock import SystemClock
from controlplane.runtime.tasks import Supervisor
from controlplane.security.refusal import Refusal
from controlplane.security.rotation import Step
from controlplane.security.secretstore import SecretStore
from controlplane.security.sources import OwnRoots
from controlplane.security.tokenreview import TokenReviews
from tests.security.apiservers import Reviews, Secrets, api_server
from tests.security.requests import csr
from tests.security.serving import new_key
from tests.security.test_tokenreview import GOOD


class ConfigMap:
    """What the bundle is written to; both replicas write it."""

    def __init__(self) -> None:
        self.content: bytes | None = None
        self.writes = 0

    def __str__(self) -> str:
        return "ConfigMap istio-ca-root-cert"

    async def published(self) -> bytes | None:
        return self.content

    async def publish(self, bundle: bytes) -> None:
        self.content = bundle
        self.writes += 1


@asynccontextmanager
async def replica(
    xds_socket: Path, reviews: ApiClient, secrets: ApiClient, bundle: ConfigMap
) -> AsyncIterator[IdentityService]:
    mesh, clock = Settings(), SystemClock()
    source = OwnRoots(SecretStore(CoreV1Api(secrets), mesh.root_namespace), mesh.trust_domain, SECRETS, clock)
    tokens = TokenReviews(AuthenticationV1Api(reviews), mesh.trust_domain, clock)
    settings = IdentitySettings(settled=0.0)
    async with (
        open_control_plane({}, xds_socket) as control,
        Supervisor(clock) as tasks,
        open_identity(control, mesh, settings, tasks, tokens, source, (bundle,)) as service,
    ):
        yield service


async def issued(service: IdentityService, bundle: bytes) -> tuple[int, Any]:
    context = ssl.create_default_context(cadata=bundle.decode())
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"https://127.0.0.1:{service.port}/v1/certificates",
            json={"csr": csr(new_key()).decode()},
            headers={"Authorization": "Bearer projected"},
            ssl=context,
            server_hostname=service.server_name,
        ) as answer,
    ):
        return answer.status, await answer.json()


async def test_two_control_planes_share_one_authority(tmp_path: Path) -> None:
    reviews, secrets, bundle = Reviews(), Secrets(), ConfigMap()
    reviews.said["projected"] = GOOD
    async with (
        api_server(reviews) as reviewing,
        api_server(secrets) as keeping,
        replica(tmp_path / "1.sock", reviewing, keeping, bundle) as one,
        replica(tmp_path / "2.sock", reviewing, keeping, bundle) as two,
    ):
        assert one.authorities.bundle == two.authorities.bundle == bundle.content
        assert bundle.writes == 1, "the second finds told what it would tell"
        for each in (one, two):
            assert (await issued(each, one.authorities.bundle))[0] == 200

        assert not isinstance(await one.authorities.begin(), Refusal)
        await two.authorities.look()
        assert two.authorities.roots.step is Step.TRUSTING
        assert not isinstance(await two.authorities.switch(), Refusal)
        await one.authorities.look()
        assert not isinstance(await one.authorities.finish(), Refusal)
        await two.authorities.look()
        assert one.authorities.bundle == two.authorities.bundle == bundle.content
        for each in (one, two):
            assert (await issued(each, one.authorities.bundle))[0] == 200
        (kept,) = secrets.objects.values()
        assert "PRIVATE" not in json.dumps(kept), "base64 at least; the API server encrypts"


async def test_a_replica_that_comes_later_never_makes_a_root_of_its_own(tmp_path: Path) -> None:
    reviews, secrets, bundle = Reviews(), Secrets(), ConfigMap()
    async with api_server(reviews) as reviewing, api_server(secrets) as keeping:
        async with replica(tmp_path / "1.sock", reviewing, keeping, bundle) as one:
            first = one.authorities.bundle
        async with replica(tmp_path / "2.sock", reviewing, keeping, bundle) as two:
            assert two.authorities.bundle == first
        assert secrets.requests.count("POST") == 1
