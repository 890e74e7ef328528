"""Lateen in the cluster, as `lateen install` puts it there."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from e2e.cluster.images import LATEEN

NAMESPACE = "lateen-system"
CONTROL_PLANE = "lateend"
_VALUES = (
    f"image={LATEEN}",
    "controlPlane.replicas=1",
    "controlPlane.autoscaling.enabled=false",
    "controlPlane.resources.requests.cpu=50m",
    'injection.resources={"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}',
)


# Words of `lateen install`: one node has room for few.
SMALL = tuple(word for value in _VALUES for word in ("--set", value))


class LateenError(Exception):
    """A command of ours failed; the message is what it said."""


def lateen(*words: str) -> str:
    """What a command printed. Raises `LateenError`."""
    command = [sys.executable, "-m", "controlplane.cli.main", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LateenError(f"lateen {' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout


@contextmanager
def installed(profile: str = "minimal") -> Iterator[None]:
    """Until left: then nothing of it is there any more."""
    lateen("install", "--profile", profile, *SMALL)
    try:
        yield
    finally:
        lateen("uninstall", "--purge", "--delete-my-objects", "--yes")
