"""What the proxy is given as files: a token that says who it is, whom to trust, and a directory of its own."""

from typing import Final

from controlplane.webhooks.injection.manifests import (
    ConfigMapFiles,
    Downward,
    DownwardFile,
    EmptyDir,
    FieldRef,
    Projected,
    Token,
    TokenSource,
    VolumeOf,
)
from controlplane.webhooks.injection.settings import InjectionSettings

_DATA: Final = "lateen-data"
_TOKEN: Final = "istio-token"  # noqa: S105  (the name of a volume)
_ROOTS: Final = "istiod-ca-cert"
_POD: Final = "istio-podinfo"
_HALF_A_DAY: Final = 43_200  # seconds a token is good for; the kubelet replaces it in time

_STATE: Final = "/var/lib/lateen"
DIRECTORY: Final = f"{_STATE}/proxy"  # the agent's own: a volume's belongs to the kubelet, and is open to all

# By volume: where the agent looks for it (`controlplane.agent.flags`).
MOUNTS: Final = (
    (_DATA, _STATE),
    (_TOKEN, "/var/run/secrets/tokens"),
    (_ROOTS, "/var/run/secrets/istio"),
    (_POD, "/etc/istio/pod"),
)


def volumes(settings: InjectionSettings) -> tuple[VolumeOf, ...]:
    """Keys never touch a disk: the directory is in memory."""
    token = Token(path="istio-token", expiration_seconds=_HALF_A_DAY, audience=settings.token_audience)
    return (
        VolumeOf(name=_DATA, empty_dir=EmptyDir(medium="Memory")),
        VolumeOf(name=_POD, downward_api=Downward(items=(_file("labels"), _file("annotations")))),
        VolumeOf(name=_TOKEN, projected=Projected(sources=(TokenSource(service_account_token=token),))),
        VolumeOf(name=_ROOTS, config_map=ConfigMapFiles(name=settings.root_config_map)),
    )


def _file(name: str) -> DownwardFile:
    return DownwardFile(path=name, field_ref=FieldRef(field_path=f"metadata.{name}"))
