"""How the control plane and a gateway are started: the one place where manifests and the command line meet."""

from typing import Final

from controlplane.install.names import IDENTITY_PORT, METRICS_PORT, WEBHOOK_PORT, XDS_PORT, Place
from controlplane.install.pods import STATE
from controlplane.install.values import ControlPlane

SETTINGS: Final = "/etc/lateen/config"  # the keys of our ConfigMap
PLUGGED_AUTHORITY: Final = "/etc/cacerts"
GATEWAY_STATE: Final = f"{STATE}/proxy"


def control_plane(place: Place, values: ControlPlane) -> list[str]:
    """Arguments of `lateen`; the API server and who we are come from the Pod."""
    # Everywhere: what is found at one address only would be told to proxies as the place to find the control plane.
    return [
        "serve",
        "--kubernetes",
        f"--namespace={place.namespace}",
        f"--revision={place.revision}",
        f"--mesh-config={SETTINGS}/mesh",
        f"--injection={SETTINGS}/injection",
        f"--listen=0.0.0.0:{XDS_PORT}",
        f"--identity=0.0.0.0:{IDENTITY_PORT}",
        f"--webhooks=0.0.0.0:{WEBHOOK_PORT}",
        f"--metrics=0.0.0.0:{METRICS_PORT}",
        f"--server-name={place.server_name}",
        f"--certificate-lifetime={values.certificate_lifetime}",
        f"--ca={PLUGGED_AUTHORITY}",
    ]


def gateway(place: Place) -> list[str]:
    """Arguments of `lateen` in a gateway's Pod; its environment says the rest (docs/agent.md)."""
    return [
        "agent",
        "router",
        f"--directory={GATEWAY_STATE}",
        f"--control-plane={place.server_name}:{IDENTITY_PORT}",
        f"--server-name={place.server_name}",
    ]
