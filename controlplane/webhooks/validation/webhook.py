"""The API server asks whether an object of the mesh may be stored.

Nobody has to be here for that: the webhook fails open, and what it would have refused is contained when it is read.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from controlplane.runtime.https import Answer, Request, Route
from controlplane.webhooks.admission import Verdict, answered, asked
from controlplane.webhooks.validation.judging import Consequences, judged

_MOMENT: Final = 0.3  # seconds

log = structlog.get_logger(__name__)


class ValidationWebhook:
    """Answers for all kinds of the mesh."""

    def __init__(self, path: str, consequences: Consequences | None = None) -> None:
        """`path`: with its secret, as injection's."""
        self._path = path
        self._consequences = consequences
        self._counts: Counter[str] = Counter()

    def routes(self) -> Sequence[Route]:
        """For an HTTPS server with `admission.LIMITS`."""
        return (Route("POST", self._path, self._answer, "the API server, who knows the path"),)

    @property
    def counts(self) -> Mapping[str, int]:
        """How many objects were `taken`, `warned` of and `refused`: for metrics."""
        return self._counts

    async def _answer(self, request: Request) -> Answer:
        question = await asked(request)
        if isinstance(question, Answer):
            return question
        verdict = judged(question, self._consequences)
        if verdict.allowed and verdict.warnings and self._consequences is not None:
            # What it needs may have been applied just before it, and be read by us in a moment.
            await asyncio.sleep(_MOMENT)
            verdict = judged(question, self._consequences)
        result = _result(verdict)
        self._counts[result] += 1
        log.debug("object", result=result, kind=question.kind.kind, namespace=question.namespace, name=question.name)
        return answered(question, verdict)


def _result(verdict: Verdict) -> str:
    if not verdict.allowed:
        return "refused"
    return "warned" if verdict.warnings else "taken"
