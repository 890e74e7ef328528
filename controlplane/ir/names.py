"""Names of Envoy resources, as Istio forms them: users' EnvoyFilters, dashboards and habits depend on them."""

from functools import lru_cache
from typing import Final

PASSTHROUGH_CLUSTER: Final = "PassthroughCluster"
BLACK_HOLE_CLUSTER: Final = "BlackHoleCluster"
INBOUND_PASSTHROUGH_CLUSTER: Final = "InboundPassthroughCluster"
VIRTUAL_OUTBOUND: Final = "virtualOutbound"
VIRTUAL_INBOUND: Final = "virtualInbound"
CREDENTIAL: Final = "kubernetes://"  # secrets that gateways name by credentialName
CREDENTIAL_CA_SUFFIX: Final = "-cacert"
FILE_CERTIFICATE: Final = "file-cert:"  # secrets that lie in files of the proxy's machine
FILE_CA: Final = "file-root:"
SYSTEM_ROOTS: Final = "file-root:system"  # the machine's own authorities; in every proxy's bootstrap, never sent
KEY_SERVER: Final = "jwks|"  # clusters of hosts that are asked for nothing but keys of token issuers
HTTP_PROXY: Final = "http_proxy"  # route configuration of a sidecar's explicit forward proxy
# The proxy's own identity and the roots of the mesh, by the names Istio's proxies know, and the files that say where
# they are: each holds one secret. The folder is watched; it changes as a whole.
WORKLOAD_SECRET: Final = "default"  # noqa: S105  a name, not a secret
ROOT_SECRET: Final = "ROOTCA"  # noqa: S105
IDENTITY_FOLDER: Final = "identity"
IDENTITY_FILES: Final = {WORKLOAD_SECRET: "sds-certificate.json", ROOT_SECRET: "sds-roots.json"}


@lru_cache(maxsize=65_536)  # named by its cluster, its endpoints and all routes to it: one string for all
def outbound_cluster(host: str, port: int, subset: str = "") -> str:
    return f"outbound|{port}|{subset}|{host}"


def key_server_cluster(host: str, port: int, *, tls: bool) -> str:
    """The name says it all: whoever finds a reference to such a cluster can make it."""
    return f"{KEY_SERVER}{port}|{'https' if tls else 'http'}|{host}"


def is_outbound(cluster: str) -> bool:
    """Whether a cluster stands for a service of the registry."""
    return cluster.startswith("outbound|")


def inbound_cluster(port: int) -> str:
    return f"inbound|{port}||"


def sni_cluster(host: str, port: int, subset: str = "") -> str:
    """Name by which an AUTO_PASSTHROUGH gateway finds a destination in the SNI."""
    return f"outbound_.{port}_.{subset}_.{host}"


def http_listener(port: int, bind: str = "0.0.0.0") -> str:  # noqa: S104  the listener's name, as Istio forms it
    return f"{bind}_{port}"


def sidecar_route(port: int) -> str:
    """Route configuration of all HTTP services that share a port."""
    return str(port)


def sniffed_route(host: str, port: int) -> str:
    """Route configuration of one service on a port whose protocol is sniffed."""
    return f"{host}:{port}"


def gateway_http_route(port: int) -> str:
    return f"http.{port}"


def gateway_https_route(port: int, port_name: str, gateway: str, namespace: str) -> str:
    return f"https.{port}.{port_name}.{gateway}.{namespace}"


def virtual_host(host: str, port: int) -> str:
    return f"{host}:{port}"


def credential_secret(credential: str) -> str:
    """SDS name of the certificate and key of a `credentialName`."""
    return f"{CREDENTIAL}{credential}"


def credential_ca_secret(credential: str) -> str:
    """SDS name of the bundle of a `credentialName`: peers' certificates are checked against it."""
    return f"{CREDENTIAL}{credential}{CREDENTIAL_CA_SUFFIX}"


def file_certificate_secret(chain: str, key: str) -> str:
    """SDS name of a certificate and key that lie in files of the proxy's machine."""
    return f"{FILE_CERTIFICATE}{chain}~{key}"


def file_ca_secret(bundle: str, revoked: str = "") -> str:
    """SDS name of a bundle in a file of the proxy's machine, with its revocation list if there is one."""
    return f"{FILE_CA}{bundle}~{revoked}" if revoked else f"{FILE_CA}{bundle}"
