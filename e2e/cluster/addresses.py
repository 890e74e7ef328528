"""The node's addresses and paths. They are the same for every node: nobody outside its namespaces can see them."""

from pathlib import Path

NODE_NAME = "node"
NODE_LINK = "node0"
NODE_NET = "10.99.0.0/24"
NODE = "10.99.0.1"
LOAD_BALANCERS = ("10.99.0.200", "10.99.0.250")  # first and last
PODS = "10.244.0.0/24"
SERVICES = "10.96.0.0/16"
API_SERVER_PORT = 6443  # of the node
KUBERNETES = "10.96.0.1"  # the API server's Service: the first of them
DNS = "10.96.0.10"
DOMAIN = "cluster.local"

# The node's folder on disk is seen here from inside.
HOME = Path("/run/lateen")
PKI = HOME / "pki"
CONFIG = HOME / "config"
LOGS = HOME / "logs"
PROGRAMS = HOME / "bin"
CONTAINERS = HOME / "containerd"  # images and what containers write
CONTROL = HOME / "control"  # the socket that PID 1 listens on
CONTAINERD = Path("/run/containerd/containerd.sock")
