"""A control plane that is a cluster's own: its root in a Secret, callers by their service accounts, Pods injected.

Nothing is different from one machine's but what is passed in: who knows tokens, where the roots are kept, where the
bundle is told. And API servers ask about Pods and objects.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controlplane.app.apiclient import open_client
from controlplane.app.cluster import Cluster
from controlplane.app.control import ControlPlane
from controlplane.app.foreseeing import foreseeing
from controlplane.app.identity import (
    SECRETS,
    IdentityService,
    IdentitySettings,
    open_identity,
    own_identity,
    trust_domains,
)
from controlplane.app.metrics import Metrics
from controlplane.app.status import Who, open_status
from controlplane.app.webhooks import WebhookConfigurations, open_webhooks
from controlplane.install.names import Place
from controlplane.model.problem import Problem
from controlplane.model.settings import Settings
from controlplane.runtime.clock import SystemClock
from controlplane.runtime.tasks import Supervisor
from controlplane.security import plugged
from controlplane.security.apiserver import NoAnswer, answered
from controlplane.security.authorities import Authorities
from controlplane.security.configmaps import ConfigMapBundles
from controlplane.security.keeping import StoreError
from controlplane.security.secretstore import NAME, SecretStore
from controlplane.security.serving import Names, Serving
from controlplane.security.sources import OwnRoots, PluggedRoots
from controlplane.security.tokenreview import TokenReviews
from controlplane.sources.kubernetes.access import credentials
from controlplane.status.peers import HttpsPeers, PeerEndpoint, open_peers
from controlplane.webhooks.configurations import Service, injection, secret_path
from controlplane.webhooks.injection.settings import InjectionSettings
from controlplane.webhooks.injection.webhook import InjectionWebhook
from controlplane.webhooks.keeping import ConfigurationKeeper
from controlplane.webhooks.metrics import injection_families, keeping_families, validation_families
from controlplane.webhooks.validation.configuration import validation
from controlplane.webhooks.validation.webhook import ValidationWebhook

_PATIENCE = 10.0  # seconds


class Seat(msgspec.Struct, frozen=True):
    """Where in a cluster we are, and what we are to do there."""

    cluster: Cluster
    place: Place
    identity: IdentitySettings
    authority: Path | None  # where one may be plugged in; the Secret counts if there are no such files
    injection: InjectionSettings
    webhooks: tuple[str, int] | None  # what they are answered on


@asynccontextmanager
async def open_in_cluster(  # noqa: PLR0913, PLR0917  everything it needs comes in here
    seat: Seat,
    control: ControlPlane,
    mesh: Settings,
    tasks: Supervisor,
    problems: Callable[[], Iterable[Problem]],
    metrics: Metrics,
) -> AsyncIterator[IdentityService]:
    """Until left, or until `tasks` end. `problems`: all that is wrong now, for the status of what it is wrong with.

    Raises AuthorityError, StoreError, Unreachable, OSError.
    """
    from kubernetes.aio.client import AuthenticationV1Api, CoreV1Api  # noqa: PLC0415  half a second

    clock = SystemClock()
    who = credentials(seat.cluster.kubeconfig, seat.cluster.context)
    async with open_client(who, clock) as client:
        core = CoreV1Api(client)
        bundles = ConfigMapBundles(
            core, seat.place.namespace, seat.injection.root_config_map, lambda: _namespaces(control)
        )
        tokens = TokenReviews(AuthenticationV1Api(client), mesh.trust_domain, clock)
        own = OwnRoots(SecretStore(core, seat.place.namespace), mesh.trust_domain, SECRETS, clock)
        folder = _plugged(seat.authority)
        source = own if folder is None else PluggedRoots(folder, clock)
        asked = PeerEndpoint(own_identity(mesh), trust_domains(mesh), clock)
        async with (
            open_identity(control, mesh, seat.identity, tasks, tokens, source, (bundles,), asked.routes()) as service,
            _peers(service, mesh, seat.identity, tasks) as peers,
            open_status(control, client, peers, seat.place, Who.here(), problems, clock, tasks) as status,
        ):
            asked.knows = status.report
            metrics.also(status.families)
            tasks.restarted("trust bundles", bundles.run)
            if seat.webhooks is None:
                yield service
                return
            secret = await _secret(core, seat.place, service.authorities, is_ours=folder is None)
            async with _answering(seat, seat.webhooks, control, service, tasks, metrics, client, secret):
                yield service


@asynccontextmanager
async def _peers(
    service: IdentityService, mesh: Settings, settings: IdentitySettings, tasks: Supervisor
) -> AsyncIterator[HttpsPeers]:
    """To ask other replicas, which listen where we do: by a certificate of our account, for no name of a server."""
    names = Names(own_identity(mesh), ())
    own = Serving(service.authorities, names, SECRETS, SystemClock(), settings.lifetimes)
    async with open_peers(own.read(), service.port) as peers:
        own.follow(peers.use)
        tasks.restarted("certificate for replicas", own.run)
        yield peers


@asynccontextmanager
async def _answering(  # noqa: PLR0913, PLR0917  everything it needs comes in here
    seat: Seat,
    address: tuple[str, int],
    control: ControlPlane,
    service: IdentityService,
    tasks: Supervisor,
    metrics: Metrics,
    client: Any,
    secret: bytes,
) -> AsyncIterator[None]:
    """Pods and objects are answered about, and the API server is told where."""
    from kubernetes.aio.client import AdmissionregistrationV1Api  # noqa: PLC0415  as above

    place, api, authorities = seat.place, AdmissionregistrationV1Api(client), service.authorities
    pods, objects = (
        Service(place.namespace, place.control_plane, secret_path(path, secret)) for path in ("/inject", "/validate")
    )
    keepers = {
        "pods' webhook": ConfigurationKeeper(
            WebhookConfigurations(api, "mutating"),
            lambda: injection(place.injector, seat.injection, pods, authorities.bundle),
        ),
        "objects' webhook": ConfigurationKeeper(
            WebhookConfigurations(api, "validating"),
            lambda: validation(place.validator, place.revision, seat.injection.tags, objects, authorities.bundle),
        ),
    }
    injecting = InjectionWebhook(lambda: seat.injection, pods.path, lambda name: _labels(control, name))
    judging = ValidationWebhook(objects.path, foreseeing(control, SystemClock()))
    routes = (*injecting.routes(), *judging.routes())
    of_keepers = dict(zip((place.injector, place.validator), keepers.values(), strict=True))
    metrics.also(lambda: injection_families(injecting))
    metrics.also(lambda: validation_families(judging))
    metrics.also(lambda: keeping_families(of_keepers))
    async with open_webhooks(routes, service.serving, tasks, *address):
        for name, keeper in keepers.items():
            authorities.follow(keeper.changed)
            tasks.restarted(name, keeper.run)
        yield


def _plugged(folder: Path | None) -> Path | None:
    there = folder is not None and any((folder / name).exists() for name in plugged.FILES)
    return folder if there else None


async def _secret(core: Any, place: Place, authorities: Authorities, *, is_ours: bool) -> bytes:
    """What all replicas know, whatever root issues, and nobody else: the uid of the Secret, or a key plugged in."""
    if not is_ours:
        key = authorities.issuer.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return sha256(key).digest()
    asking = core.read_namespaced_secret_without_preload_content(NAME, place.namespace)
    try:
        status, body = await answered(asking, seconds=_PATIENCE)
        if status != 200:
            raise StoreError(f"Secret {place.namespace}/{NAME}: the API server answers with status {status}")
        return msgspec.json.decode(body, type=_Secret).metadata.uid.encode()
    except (NoAnswer, msgspec.MsgspecError) as error:
        raise StoreError(f"Secret {place.namespace}/{NAME}: {error}") from error


class _Metadata(msgspec.Struct, frozen=True):
    uid: str


class _Secret(msgspec.Struct, frozen=True):
    metadata: _Metadata


def _namespaces(control: ControlPlane) -> Iterator[str]:
    store, inputs = control.graph.store, control.graph.inputs
    return (name for (_, name), _ in store.items(inputs.namespaces))


def _labels(control: ControlPlane, name: str) -> Mapping[str, str] | None:
    found = control.graph.store.get(control.graph.inputs.namespaces, ("", name))
    return None if found is None else found.meta.labels
