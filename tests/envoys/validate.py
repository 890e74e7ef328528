"""`envoy --mode validate`, the judge of every configuration we make."""

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from controlplane.explain.resources import Resources
from tests.envoys.binary import envoy_binary
from tests.envoys.bootstrap import static_bootstrap

_OPTIONS = ("--mode", "validate", "--log-level", "error", "--log-format", "%v")
_SECONDS = 60.0


def validate(config: Resources | Any, *, validate_clusters: bool = True) -> list[str]:
    """What Envoy holds against compiled resources, or against a Bootstrap message; empty when it takes them.

    Binds no port and needs no right: an unprivileged user may validate a listener on port 80.
    """
    is_resources = isinstance(config, Resources)
    bootstrap = static_bootstrap(config, validate_clusters=validate_clusters) if is_resources else config
    with tempfile.TemporaryDirectory(prefix="lateen-validate-") as folder:
        path = write_bootstrap(bootstrap, Path(folder))
        command = (str(envoy_binary()), *_OPTIONS, "-c", str(path))
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    return [] if done.returncode == 0 else [_reason(done.stderr) or f"envoy left with {done.returncode}, silently"]


def _reason(said: str) -> str:
    """Envoy prints the whole configuration before the reason; the reason follows on its last line."""
    lines = [line for line in said.splitlines() if line.strip()]
    return lines[-1].removeprefix(": ") if lines else ""


def write_bootstrap(bootstrap: Any, folder: Path) -> Path:
    """In binary form: JSON would need every type inside an `Any` to be imported here."""
    path = folder / "bootstrap.pb"
    path.touch(mode=0o600)  # private keys of tests are in it
    path.write_bytes(bootstrap.SerializeToString())
    return path
