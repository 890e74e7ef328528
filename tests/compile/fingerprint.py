"""Prints a digest of what the proxies of random meshes see: run in another process, with another hash seed.

python -m tests.compile.fingerprint SHUFFLE SEED...
"""

import hashlib
import sys

from tests.compile.meshes import as_bytes, compiled, seen
from tests.meshes import Ground, random_mesh


def fingerprint(seed: int, shuffle: int) -> str:
    mesh = random_mesh(seed, Ground(certificates=False))
    found = as_bytes(seen(compiled(mesh.objects(), mesh.proxies, shuffle=shuffle), mesh.proxies))
    digest = hashlib.sha256()
    for key, value in found.items():  # the order in which names are listed counts too
        digest.update(repr((key, value)).encode())
    return digest.hexdigest()


if __name__ == "__main__":
    for argument in sys.argv[2:]:
        print(argument, fingerprint(int(argument), int(sys.argv[1])))
