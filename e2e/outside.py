"""A client outside of the cluster: a machine beside the node, as a network namespace with a link on the node's own."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from e2e.cluster.addresses import NODE, NODE_LINK


class Outside(msgspec.Struct, frozen=True):
    name: str
    address: str

    def run(self, *command: str) -> str:
        """What it printed; empty where it failed."""
        entered = ["ip", "netns", "exec", self.name, *command]
        done = subprocess.run(entered, capture_output=True, text=True, check=False)
        return "" if done.returncode else done.stdout

    def fetched(self, url: str, *options: str) -> str:
        """By curl; empty where nobody answers, or not with what was asked for."""
        return self.run("curl", "--silent", "--fail", "--max-time", "2", *options, url)


@contextmanager
def outside(name: str = "outside", address: str = "10.99.0.77") -> Iterator[Outside]:
    """Two at once need names and addresses of their own."""
    commands = (
        f"netns add {name}",
        f"link add {name} type veth peer name eth0 netns {name}",
        f"link set {name} master {NODE_LINK} up",
        f"-netns {name} addr add {address}/24 dev eth0",
        f"-netns {name} link set eth0 up",
        f"-netns {name} route add default via {NODE}",
    )
    try:
        for command in commands:
            subprocess.run(["ip", *command.split()], check=True)
        yield Outside(name, address)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
