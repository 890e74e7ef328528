"""The node's first process: makes its surroundings, then runs the programs for as long as it lives.

python -m e2e.cluster.init FOLDER PACKAGES
"""

import sys
from pathlib import Path

from e2e.cluster import surroundings
from e2e.cluster.addresses import CONTROL, LOGS
from e2e.cluster.programs import programs
from e2e.cluster.supervisor import Supervisor
from tools.progress import FailedStep, complain


def main() -> int:
    folder, packages = map(Path, sys.argv[1:])
    try:
        surroundings.mount_all(folder, packages)
        surroundings.set_up_network()
    except FailedStep as error:
        return complain(error)
    Supervisor(programs(), LOGS, CONTROL).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
