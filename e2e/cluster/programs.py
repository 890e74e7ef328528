"""What runs on the node, by the names people know."""

import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from e2e.cluster import config
from e2e.cluster.addresses import CONTAINERD, HOME, NODE, NODE_NAME, PKI, SERVICES

ETCD = "http://127.0.0.1:2379"


class Program(msgspec.Struct, frozen=True):
    """`needs`: a file that must be there before it is started; without it, it would end at once."""

    arguments: tuple[str, ...]
    needs: Path | None = None


def programs() -> Mapping[str, Program]:
    """In the order they are started."""
    return {
        "etcd": Program(_etcd()),
        "containerd": Program(("containerd", "--config", str(config.CONTAINERD_TOML))),
        "kube-apiserver": Program(_api_server()),
        "kube-controller-manager": Program(_controller_manager()),
        "kube-scheduler": Program(_scheduler()),
        "kubelet": Program(_kubelet(), needs=CONTAINERD),
        "kube-proxy": Program(("kube-proxy", f"--config={config.PROXY}")),
        "load-balancer": Program((sys.executable, "-m", "e2e.cluster.loadbalancer")),
    }


def _etcd() -> tuple[str, ...]:
    """On a disk that is shared with everything else a sync takes as long as it takes; a node has nothing to lose."""
    return (
        "etcd",
        f"--data-dir={HOME}/etcd",
        "--unsafe-no-fsync",
        f"--listen-client-urls={ETCD}",
        f"--advertise-client-urls={ETCD}",
        "--listen-peer-urls=http://127.0.0.1:2380",
    )


def _api_server() -> tuple[str, ...]:
    return (
        "kube-apiserver",
        f"--etcd-servers={ETCD}",
        f"--advertise-address={NODE}",
        "--endpoint-reconciler-type=lease",  # the other kind leaves its entry behind when it is killed
        "--allow-privileged",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--service-cluster-ip-range={SERVICES}",
        f"--client-ca-file={PKI}/ca.crt",
        f"--tls-cert-file={PKI}/apiserver.crt",
        f"--tls-private-key-file={PKI}/apiserver.key",
        f"--kubelet-certificate-authority={PKI}/ca.crt",
        f"--kubelet-client-certificate={PKI}/apiserver.crt",
        f"--kubelet-client-key={PKI}/apiserver.key",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={PKI}/tokens.pub",
        f"--service-account-signing-key-file={PKI}/tokens.key",
        # Nobody stands before the API server; the other programs look for what these publish, and complain for ever.
        f"--requestheader-client-ca-file={PKI}/ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
    )


def _controller_manager() -> tuple[str, ...]:
    return (
        "kube-controller-manager",
        "--leader-elect=false",
        f"--kubeconfig={config.kubeconfig('controller-manager')}",
        "--use-service-account-credentials",
        f"--service-account-private-key-file={PKI}/tokens.key",
        f"--root-ca-file={PKI}/ca.crt",
        f"--cluster-signing-cert-file={PKI}/ca.crt",
        f"--cluster-signing-key-file={PKI}/ca.key",
    )


def _scheduler() -> tuple[str, ...]:
    kubeconfig = config.kubeconfig("scheduler")
    return (
        "kube-scheduler",
        "--leader-elect=false",
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
    )


def _kubelet() -> tuple[str, ...]:
    return (
        "kubelet",
        f"--kubeconfig={config.kubeconfig('kubelet')}",
        f"--config={config.KUBELET}",
        f"--root-dir={HOME}/kubelet",
        f"--cert-dir={HOME}/kubelet/pki",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={NODE}",
    )
