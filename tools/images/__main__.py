"""Writes Lateen's image as an OCI archive.

python -m tools.images dist/lateen.tar --name localhost/lateen:0.1.0
"""

import argparse
import sys
from importlib.metadata import version
from pathlib import Path

from tools.cache import default_cache
from tools.images import lateen
from tools.images.oci import write_archive
from tools.progress import FailedStep, complain, say, step

_CHECKOUT = Path(__file__).parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.images", description="Lateen's image, without an engine.")
    parser.add_argument("archive", type=Path, nargs="?", default=_CHECKOUT / "dist/lateen.tar", help="%(default)s")
    parser.add_argument("--name", default=f"localhost/lateen:{version('lateen')}", help="%(default)s")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="%(default)s")
    chosen = parser.parse_args()
    try:
        with step(f"{chosen.name} in {chosen.archive}"):
            chosen.archive.parent.mkdir(parents=True, exist_ok=True)
            write_archive(chosen.archive, [lateen.image(chosen.cache, _CHECKOUT, (chosen.name,))])
    except FailedStep as error:
        return complain(error)
    say(f"{chosen.archive.stat().st_size / 1e6:.0f} MB. docker load and podman load read it; skopeo copy pushes it:")
    say(f"  skopeo copy oci-archive:{chosen.archive} docker://REGISTRY/lateen:TAG")
    return 0


if __name__ == "__main__":
    sys.exit(main())
