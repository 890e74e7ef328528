"""The programs' configuration files. Whatever is not said here is Kubernetes' own default.

Much of it is there because the machine may be a small one: a CI machine without its own kernel modules, with cgroups of
version 1, and without the right to raise limits (CAP_SYS_RESOURCE).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from e2e.cluster.addresses import (
    API_SERVER_PORT,
    CONFIG,
    CONTAINERD,
    CONTAINERS,
    DNS,
    DOMAIN,
    LOGS,
    NODE,
    NODE_NAME,
    PKI,
    PODS,
)

CNI = CONFIG / "cni"
KUBELET = CONFIG / "kubelet.json"
PROXY = CONFIG / "proxy.json"
CONTAINERD_TOML = CONFIG / "containerd.toml"
RESOLV_CONF = CONFIG / "resolv.conf"

_SERVER = f"https://{NODE}:{API_SERVER_PORT}"
_MAX_FILES = 20_000  # the hard limit that small machines have; kubelet may not raise it there


def kubeconfig(who: str) -> Path:
    """Of one of `pki.SUBJECTS`."""
    return CONFIG / f"{who}.kubeconfig"


def files() -> Mapping[Path, str]:
    """What to write, by path as seen inside the node."""
    clients = ("admin", "controller-manager", "scheduler", "proxy", "kubelet")
    return {
        **{kubeconfig(who): _json(_kubeconfig(who)) for who in clients},
        KUBELET: _json(_kubelet()),
        PROXY: _json(_proxy()),
        CONTAINERD_TOML: _containerd(),
        CNI / "10-bridge.conflist": _json(_cni()),
        RESOLV_CONF: "",  # kubelet: Pods with the node's own DNS have none
    }


def _kubeconfig(who: str) -> dict[str, Any]:
    cluster = {"server": _SERVER, "certificate-authority": str(PKI / "ca.crt")}
    user = {"client-certificate": str(PKI / f"{who}.crt"), "client-key": str(PKI / f"{who}.key")}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "node", "cluster": cluster}],
        "users": [{"name": who, "user": user}],
        "contexts": [{"name": "node", "context": {"cluster": "node", "user": who}}],
        "current-context": "node",
    }


def _kubelet() -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE,
        "containerRuntimeEndpoint": f"unix://{CONTAINERD}",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "makeIPTablesUtilChains": False,
        "maxOpenFiles": _MAX_FILES,
        "clusterDNS": [DNS],
        "clusterDomain": DOMAIN,
        "resolvConf": str(RESOLV_CONF),
        "podLogsDir": str(LOGS / "pods"),
        # A machine's disk is full or not whatever the node does: it evicts for want of memory alone, or nearly.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(PKI / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(PKI / "kubelet.crt"),
        "tlsPrivateKeyFile": str(PKI / "kubelet.key"),
        # Tests wait for what a ConfigMap, a Secret or a Pod's state does: a minute is for large clusters.
        "syncFrequency": "2s",
        "nodeStatusUpdateFrequency": "4s",
    }


def _proxy() -> dict[str, Any]:
    """`conntrack`: kube-proxy would set limits of the whole kernel."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": NODE_NAME,
        "clusterCIDR": PODS,
        "clientConnection": {"kubeconfig": str(kubeconfig("proxy"))},
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def _cni() -> dict[str, Any]:
    """Pods on a bridge. No masquerading: who is called sees the Pod's address, and nothing leads out of the node."""
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": PODS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": "/run/cni",
    }
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "hairpinMode": True,
        "ipMasq": False,
        "ipam": addresses,
    }
    plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]
    return {"cniVersion": "1.0.0", "name": "bridge", "plugins": plugins}


def _containerd() -> str:
    """`restrict_oom_score_adj`: without CAP_SYS_RESOURCE no sandbox would start. `opt` makes a folder in /opt."""
    return f"""\
version = 2
root = "{CONTAINERS}"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]

[grpc]
address = "{CONTAINERD}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/pause:1"
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{CNI}"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"""  # noqa: E501  (TOML has no way to break the list that old readers take)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"
