"""ADS resources as one static bootstrap.

`envoy --mode validate` looks at the bootstrap alone: what would come over ADS is never loaded, so a broken route
passes. Here every reference to a config source is replaced by what it would have brought.
"""

from collections.abc import Mapping
from typing import Any, Final

from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_pb2

from controlplane.envoy.runtime import FLAGS
from controlplane.explain.resources import Resources
from controlplane.ir.names import IDENTITY_FILES, WORKLOAD_SECRET
from tests.envoys.certificates import identity as identity_of
from tests.envoys.certificates import leaf, root_certificate
from tests.envoys.messages import walk

_ADS_CLUSTER = "harness-xds"


def static_bootstrap(resources: Resources, *, validate_clusters: bool = True, identity: bool = False) -> Any:
    """A bootstrap that means the same as these resources served over ADS. The resources are left as they are.

    validate_clusters: refuse routes to clusters that do not exist, as a static configuration should; off where
    a missing cluster is part of the case. identity: Envoy finds its own where an agent puts it (`put_identity`).
    """
    bootstrap = bootstrap_pb2.Bootstrap()
    static = bootstrap.static_resources
    static.listeners.extend(resources.listeners[name] for name in sorted(resources.listeners))
    static.clusters.extend(resources.clusters[name] for name in sorted(resources.clusters))
    secrets = _Secrets(resources.secrets, frozenset(IDENTITY_FILES) if identity else frozenset())
    for cluster in static.clusters:
        _inline_endpoints(cluster, resources.endpoints)
    walk(static, lambda message: _inline(message, resources.routes, secrets))
    walk(static, lambda message: _judge_clusters(message, validate_clusters=validate_clusters))
    static.secrets.extend(secrets.used[name] for name in sorted(secrets.used))
    _allow_ads(bootstrap)
    bootstrap.layered_runtime.layers.add(name="global config").static_layer.update(FLAGS)
    return bootstrap


class _Secrets:
    """Test certificates stand in for secrets that are absent, redacted, or files on another machine."""

    def __init__(self, given: Mapping[str, Any], elsewhere: frozenset[str]) -> None:
        self._given = given
        self._elsewhere = elsewhere
        self.used: dict[str, Any] = {}

    def use(self, reference: Any, *, validation: bool) -> None:
        if reference.name in self._elsewhere:
            return
        secret = secret_pb2.Secret()
        if (given := self._given.get(reference.name)) is not None:
            secret.CopyFrom(given)
        if validation:
            _fill_validation(secret)
        else:
            _fill_certificate(secret, of_mesh=reference.name == WORKLOAD_SECRET)
        secret.name = reference.name
        self.used[secret.name] = secret
        reference.ClearField("sds_config")


def _fill_validation(secret: Any) -> None:
    if "CERTIFICATE" not in secret.validation_context.trusted_ca.inline_string.upper():
        secret.validation_context.trusted_ca.inline_string = root_certificate()
    if secret.validation_context.crl.filename:  # on the proxy's machine, like the rest
        secret.validation_context.ClearField("crl")


_PROXY: Final = "spiffe://cluster.local/ns/test/sa/proxy"


def _fill_certificate(secret: Any, *, of_mesh: bool) -> None:
    own = secret.tls_certificate
    key = own.private_key.inline_string or own.private_key.inline_bytes.decode()
    if "PRIVATE KEY" not in key:
        pair = identity_of(_PROXY) if of_mesh else leaf()
        own.certificate_chain.inline_string, own.private_key.inline_string = pair.certificate, pair.key


def _inline(message: Any, routes: Mapping[str, Any], secrets: _Secrets) -> None:
    if isinstance(message, http_connection_manager_pb2.HttpConnectionManager):
        _inline_routes(message, routes)
    elif isinstance(message, tls_pb2.CommonTlsContext):
        _inline_secrets(message, secrets)


def _judge_clusters(message: Any, *, validate_clusters: bool) -> None:
    if isinstance(message, route_pb2.RouteConfiguration):
        message.validate_clusters.value = validate_clusters


def _inline_routes(manager: Any, routes: Mapping[str, Any]) -> None:
    if manager.HasField("rds"):
        name = manager.rds.route_config_name
        found = routes.get(name, route_pb2.RouteConfiguration(name=name))
        manager.route_config.CopyFrom(found)
    if manager.HasField("route_config"):
        manager.route_config.ClearField("vhds")


def _inline_secrets(context: Any, secrets: _Secrets) -> None:
    for reference in context.tls_certificate_sds_secret_configs:
        secrets.use(reference, validation=False)
    combined = context.combined_validation_context
    if context.HasField("validation_context_sds_secret_config"):
        secrets.use(context.validation_context_sds_secret_config, validation=True)
    if context.HasField("combined_validation_context") and combined.HasField("validation_context_sds_secret_config"):
        secrets.use(combined.validation_context_sds_secret_config, validation=True)


def _inline_endpoints(cluster: Any, endpoints: Mapping[str, Any]) -> None:
    if cluster.type != cluster_pb2.Cluster.EDS:
        return
    name = cluster.eds_cluster_config.service_name or cluster.name
    cluster.ClearField("eds_cluster_config")
    cluster.type = cluster_pb2.Cluster.STATIC
    if name in endpoints:
        cluster.load_assignment.CopyFrom(endpoints[name])
    cluster.load_assignment.cluster_name = name


def _allow_ads(bootstrap: Any) -> None:
    """Filters such as on_demand may still name ADS; a source that is declared and never asked makes that legal."""
    ads = bootstrap.dynamic_resources.ads_config
    ads.api_type, ads.transport_api_version = ads.DELTA_GRPC, 2
    ads.grpc_services.add().envoy_grpc.cluster_name = _ADS_CLUSTER
    cluster = bootstrap.static_resources.clusters.add(name=_ADS_CLUSTER, type=cluster_pb2.Cluster.STATIC)
    cluster.load_assignment.cluster_name = _ADS_CLUSTER
    bootstrap.node.id, bootstrap.node.cluster = "test", "test"
