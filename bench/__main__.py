"""All benchmarks, one after the other: tables on the terminal, and the page docs/performance.md.

python -m bench [--small] [--json] [--write FILE]
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from bench import report
from bench.machine import apart

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def results(*, small: bool) -> dict[str, Any]:
    """Of every benchmark, each alone on the machine. `small`: whether it runs, not what it costs."""
    sizes, proxies = ("20,100", "20") if small else ("100,1000,5000", "500")
    largest = sizes.rpartition(",")[2]
    jobs = {
        "store": ("store", *(["--small"] if small else [])),
        "compile": ("compile", "--scopes", "--services", sizes),
        "serving": ("serving", "--mtls", "--services", sizes, "--proxies", proxies),
        "lag": ("lag", "--services", largest),
        "cluster": ("cluster", "--services", largest),
    }
    found = {}
    for name, job in jobs.items():
        print(f"bench.{' '.join(job)}", file=sys.stderr, flush=True)
        found[name] = apart(*job)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that it runs; writes no page")
    parser.add_argument("--json", action="store_true", help="figures for machines; writes no page")
    parser.add_argument("--write", type=Path, help="where the page goes")
    arguments = parser.parse_args()
    found = results(small=arguments.small)
    page = report.page(found)
    print(json.dumps(found) if arguments.json else page)
    where = arguments.write or (None if arguments.small or arguments.json else PAGE)
    if where:
        where.write_text(page)


if __name__ == "__main__":
    main()
