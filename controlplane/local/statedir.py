"""`.lateen/`: what a running mesh keeps in the directory it runs, and the lock that makes it the only one.

lock         held while a mesh runs (flock: the kernel lets go of it however the process ends)
state.json   where the running mesh can be asked: its process and its debug socket
ca/          the mesh's own authority: made once, kept for the next time
run/         sockets, and a folder for each Envoy; gone afterwards
logs/        one file per process, and lateen's own
"""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import msgspec

NAME: Final = ".lateen"
_LONGEST_SOCKET_PATH: Final = 100  # bytes; the kernel takes 107 (Linux) or 103 (macOS)
_SOCKET_NAME: Final = 24
_PREFIX: Final = "lateen-run-"  # of a run directory elsewhere


class Misuse(Exception):  # noqa: N818  (the user's mistake, shown as one line, exit code 2)
    """What was asked for cannot be done, and why."""


ISSUER_KEYS: Final = "issuer-keys"


class StateDirectory(msgspec.Struct, frozen=True):
    """The places of one running mesh."""

    root: Path  # .lateen
    run: Path

    @property
    def debug_socket(self) -> Path:
        return self.run / "debug.sock"

    @property
    def authority(self) -> Path:
        return self.root / "ca"

    @property
    def issuer_keys(self) -> Path:
        """Keys of token issuers that were good once."""
        return self.root / ISSUER_KEYS

    @property
    def xds_socket(self) -> Path:
        return self.run / "xds.sock"

    @property
    def own_log(self) -> Path:
        return self.root / "logs" / "lateen.log"

    def proxy(self, name: str) -> Path:
        """What one Envoy and its agent keep. Short, whatever the Envoy is called: its admin socket is in there."""
        return self.run / blake2b(name.encode(), digest_size=6).hexdigest()

    def admin_socket(self, name: str) -> Path:
        """Of one Envoy."""
        return self.proxy(name) / "admin.sock"

    def log(self, name: str) -> Path:
        """Of one process."""
        return self.root / "logs" / f"{name}.log"


def directory_of(path: Path) -> Path:
    """Where the state of a mesh that was started with this path lives."""
    return (path if path.is_dir() else path.parent).resolve()


@contextmanager
def state_directory(paths: Sequence[Path], what: str) -> Iterator[StateDirectory]:
    """Take every directory for this process; the first holds the state. Raises `Misuse`."""
    directories = tuple(dict.fromkeys(directory_of(path) for path in paths))
    with ExitStack() as held:
        for directory in directories:
            held.enter_context(_clean_after_misuse(directory))
            held.enter_context(_locked(directory))
        root = directories[0] / NAME
        _remove_left_behind(root)
        state = StateDirectory(root, _run_directory(root))
        held.callback(shutil.rmtree, state.run, ignore_errors=True)
        shutil.rmtree(root / "logs", ignore_errors=True)
        (root / "logs").mkdir()
        facts = {"pid": os.getpid(), "what": what, "debug": str(state.debug_socket), "xds": str(state.xds_socket)}
        for directory in directories:
            (directory / NAME / "state.json").write_text(json.dumps(facts))
            held.callback((directory / NAME / "state.json").unlink, missing_ok=True)
        yield state


def running(directory: Path) -> Mapping[str, Any] | None:
    """What runs in this directory or in one above it; None when nothing does."""
    for candidate in (directory.resolve(), *directory.resolve().parents):
        try:
            facts: Mapping[str, Any] = json.loads((candidate / NAME / "state.json").read_text())
        except (OSError, ValueError):
            continue
        return facts if _is_held(candidate) else None
    return None


@contextmanager
def _clean_after_misuse(directory: Path) -> Iterator[None]:
    """Whoever named the wrong directory does not find ours in it."""
    ours = not (directory / NAME).exists()
    try:
        yield
    except Misuse:
        if ours:
            shutil.rmtree(directory / NAME, ignore_errors=True)
        raise


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    try:
        (directory / NAME).mkdir(exist_ok=True)
        (directory / NAME / ".gitignore").write_text("*\n")
        lock = (directory / NAME / "lock").open("a+")
    except OSError as error:
        raise Misuse(f"{directory}: cannot keep state in {NAME}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Misuse(_already_running(directory)) from None
        yield


def _already_running(directory: Path) -> str:
    facts = running(directory)
    by = f" (process {facts['pid']}, lateen {facts['what']})" if facts else ""
    return f"a mesh already runs in {directory}{by}; end that one first"


def _is_held(directory: Path) -> bool:
    try:
        with (directory / NAME / "lock").open("rb") as lock:  # another user may look, too
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _remove_left_behind(root: Path) -> None:
    """The temporary directory of a mesh that was killed: nothing but its state file names it."""
    try:
        run = Path(json.loads((root / "state.json").read_text())["debug"]).parent
    except (OSError, ValueError, KeyError, TypeError):
        return
    if run.name.startswith(_PREFIX) and run.parent == Path(tempfile.gettempdir()):
        shutil.rmtree(run, ignore_errors=True)


def _run_directory(root: Path) -> Path:
    """Sockets beside the state if their paths stay short enough, else in a temporary directory."""
    run = root / "run"
    if len(os.fsencode(run)) + _SOCKET_NAME > _LONGEST_SOCKET_PATH:
        return Path(tempfile.mkdtemp(prefix=_PREFIX))  # mode 0700
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(mode=0o700)
    return run
