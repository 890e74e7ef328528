"""kubectl for tests: what a user would type, with its output."""

import json
import subprocess
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any, TypeVar

import msgspec

PATIENCE = 60.0  # seconds until what is waited for has happened, on a machine that is busy with other things


T = TypeVar("T")


class KubectlError(Exception):
    """kubectl refused or failed; the message is its own."""


class Kubectl(msgspec.Struct, frozen=True):
    """In one namespace."""

    namespace: str

    def __call__(self, *words: str, data: str = "") -> str:
        """What it printed. Raises `KubectlError`."""
        command = ["kubectl", "--namespace", self.namespace, *words]
        done = subprocess.run(command, input=data, capture_output=True, text=True, check=False)
        if done.returncode:
            raise KubectlError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def apply(self, *manifests: dict[str, Any]) -> None:
        self("apply", "--filename", "-", data=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))

    def json(self, *words: str) -> dict[str, Any]:
        """`json("get", "pod", "a")`."""
        answer = json.loads(self(*words, "--output", "json"))
        assert isinstance(answer, dict)
        return answer

    def rolled_out(self, what: str) -> None:
        """Waits for `deployment/NAME` and the like."""
        self("rollout", "status", what, f"--timeout={PATIENCE:.0f}s")

    def waited(self, what: str, condition: str) -> None:
        """`waited("job/a", "condition=Complete")`."""
        self("wait", what, f"--for={condition}", f"--timeout={PATIENCE:.0f}s")

    def ran(self, pod: str, *command: str, container: str = "") -> str:
        """What a command printed in a Pod."""
        chosen = [f"--container={container}"] if container else []
        return self("exec", pod, *chosen, "--", *command)


def eventually(ask: Callable[[], T], holds: Callable[[T], bool] = bool) -> T:
    """Asks until it holds: clusters get there in their own time. Errors of kubectl count as not yet."""
    until = monotonic() + PATIENCE
    while True:
        try:
            if holds(answer := ask()):
                return answer
            last: object = answer
        except KubectlError as error:
            last = error
        if monotonic() > until:
            raise AssertionError(f"not after {PATIENCE:.0f} s; the last answer: {last}")
        sleep(0.1)
