"""What the kernel lets one process have."""

import resource
from contextlib import suppress
from typing import Final

_ENOUGH: Final = 65_536  # a stream takes one


def allow_many_files() -> int:
    """Raise the soft limit of open files, 1024 by custom, as far as allowed; what it is then.

    For a process that serves many proxies and starts no other: those that it starts would inherit the limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    with suppress(OSError, ValueError):  # macOS has another limit behind the hard one
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
