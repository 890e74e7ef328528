"""`python -m controlplane.agent`: the same as `lateen agent`, for images that have nothing else of Lateen."""

import sys

from controlplane.agent.entrance import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
