"""What several replicas of a control plane say together.

All of them read the same objects; each knows its own proxies only. So what is said of objects is the same, or said once
more; what is said of proxies is added up; and a replica that is silent makes nothing look better than it is.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from controlplane.cli.refusal import Refused
from controlplane.cli.replicas import Answer, Silent

_GRAVITY: Final[Mapping[str, int]] = {"error": 0, "warning": 1, "info": 2}


def joined(target: str, answers: Sequence[Answer], silent: Sequence[Silent]) -> Any:
    """One answer. Refuses with the words of those that do not know."""
    good = [one for one in answers if one.status == 200]
    if not good:
        said = dict.fromkeys(str(one.body.get("error", f"status {one.status}")) for one in answers)
        raise Refused("; ".join(said), code=1)
    match target:
        case "/proxies":
            return _proxies(good)
        case "/problems":
            return _problems(good)
        case "/reached":
            return _reached(good, silent)
        case "/ca":
            return _authority(good)
    return good[0].body


def _proxies(answers: Sequence[Answer]) -> list[Any]:
    found = [{**proxy, "replica": one.replica} for one in answers for proxy in one.body]
    return sorted(found, key=lambda proxy: (proxy["name"], proxy["id"]))


def _problems(answers: Sequence[Answer]) -> list[Any]:
    found = {row["line"]: row for one in answers for row in one.body}
    return sorted(found.values(), key=lambda row: _GRAVITY.get(row["level"], 0))


def _reached(answers: Sequence[Answer], silent: Sequence[Silent]) -> dict[str, Any]:
    """A replica that says nothing may not have read it."""
    return {
        "current": not silent and all(one.body["current"] for one in answers),
        "is_read": all(one.body["is_read"] for one in answers),
        "is_gone": not any(one.body["is_read"] for one in answers),
        "proxies": [proxy for one in answers for proxy in one.body["proxies"]],
    }


def _authority(answers: Sequence[Answer]) -> dict[str, Any]:
    """The roots are the same everywhere; who has them yet is each replica's to know."""
    told = [one.body["proxies"] for one in answers]
    proxies = {
        "known": sum(one["known"] for one in told),
        "lacking": sorted({name for one in told for name in one["lacking"]}),
        "holding": sorted({name for one in told for name in one["holding"]}),
    }
    problem = next((one.body["problem"] for one in answers if one.body["problem"]), answers[0].body["problem"])
    return {**answers[0].body, "proxies": proxies, "problem": problem}
