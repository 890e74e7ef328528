"""One golden case of injection: settings, a namespace and a Pod in; the patch and what is said about it out."""

from pathlib import Path
from typing import Any

import msgspec
import yaml

from controlplane.webhooks.injection.decision import Namespace
from controlplane.webhooks.injection.render import Injected, Left, Outcome, inject
from controlplane.webhooks.injection.settings import decode
from controlplane.webhooks.jsonpatch import diff


class Case:
    """What `in.yaml` says."""

    def __init__(self, path: Path) -> None:
        said = yaml.safe_load((path / "in.yaml").read_text())
        self.settings = decode(said.get("settings", {}))
        self.namespace = Namespace(**said.get("namespace", {"name": "shop"}))
        self.pod: dict[str, Any] = said["pod"]

    def outcome(self) -> Outcome:
        return inject(self.settings, self.namespace, self.pod)


def outputs(path: Path) -> dict[str, str]:
    case = Case(path)
    outcome = case.outcome()
    said = [f"{problem.level} {problem.code} {problem.origin}: {problem.message}" for problem in outcome.problems]
    if isinstance(outcome, Left):
        said.append(f"left: {outcome.skipped.why}: {outcome.skipped.message}")
    found = {"said.txt": "".join(f"{line}\n" for line in said)} if said else {}
    if isinstance(outcome, Injected):
        patch = msgspec.to_builtins(diff(case.pod, outcome.pod))
        found["patch.yaml"] = yaml.safe_dump(patch, sort_keys=False, width=120)
    return found
