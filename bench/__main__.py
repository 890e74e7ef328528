"""All benchmarks, one after the other."""

import subprocess
import sys

if __name__ == "__main__":
    for module, arguments in (
        ("bench.store", []),
        ("bench.compile", ["--scopes"]),
        ("bench.serving", ["--mtls"]),
        ("bench.lag", []),
    ):
        print(f"== {module}", flush=True)
        subprocess.run([sys.executable, "-m", module, *arguments], check=True)
