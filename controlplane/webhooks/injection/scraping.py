"""One page of metrics for a Pod: `prometheus.io/*` annotations lead to the agent, which asks the application.

A scraper has no certificate of the mesh either. As Istio does it, for Pods without such annotations too: the proxy's
own figures are worth having.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from controlplane.model.validate.findings import Findings
from controlplane.webhooks.injection import values
from controlplane.webhooks.injection.annotations import path_of

PATH: Final = "/stats/prometheus"
_PREFIX: Final = "prometheus.io/"
_OURS: Final = ("scrape", "path", "port")


def merge(found: Findings, annotations: dict[str, Any], status_port: int) -> str:
    """Changes the annotations; where the application has its metrics, for the agent, or "" when nothing was said."""
    said = {name: value for name in _OURS if (value := _said(annotations, name)) is not None}
    if said.get("scrape") in {"false", "False", "FALSE", "0", "f", "F"} or said.get("port") == str(status_port):
        return ""  # nothing is to be scraped, or somebody has led it to the agent already
    for name in [name for name in annotations if _plain(name) in {_plain(_PREFIX + own) for own in _OURS}]:
        del annotations[name]
    annotations |= {f"{_PREFIX}scrape": "true", f"{_PREFIX}path": PATH, f"{_PREFIX}port": str(status_port)}
    if not said or not _makes_sense(found, said):
        return ""
    return msgspec.json.encode({**said, **_absolute(said)}).decode()


def _said(annotations: Mapping[str, str], name: str) -> str | None:
    """Scrapers read `prometheus.io/port` and `prometheus_io_port` alike."""
    wanted = _plain(_PREFIX + name)
    return next((value for key, value in annotations.items() if _plain(key) == wanted), None)


def _plain(name: str) -> str:
    return "".join(character if character.isascii() and character.isalnum() else "_" for character in name)


def _absolute(said: Mapping[str, str]) -> dict[str, str]:
    path = said.get("path", "")
    return {"path": f"/{path}"} if path and not path.startswith("/") else {}


def _makes_sense(found: Findings, said: Mapping[str, str]) -> bool:
    """The agent would not start with what makes none; the Pod does, without its own metrics."""
    reason = _fault(said)
    if reason:
        message = f"prometheus.io annotations: {reason}. The application's metrics are not collected"
        found.warn("AnnotationWithoutEffect", path_of(f"{_PREFIX}port"), message)
    return not reason


def _fault(said: Mapping[str, str]) -> str:
    path = said.get("path", "")
    if not path.isascii() or not path.isprintable() or " " in path:
        return "the path is none"
    try:
        values.port(said.get("port", "80"))
    except ValueError as error:
        return str(error)
    return ""
