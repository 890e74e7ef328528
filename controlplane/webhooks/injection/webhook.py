"""The API server asks about a Pod, and gets the patch that puts a proxy beside it.

Whoever may ask is whoever knows the path: the API server shows no certificate unless its administrator configures one,
so the path has a secret in it (`webhooks.configurations`), and any other is answered with 404 before a body is read.

The API server went by the labels of namespaces as they are; what is known of them here may be older by a moment, and a
Pod that is left without its proxy then stays so. So they count for one thing only: nothing is refused in a namespace
that, as far as we know, did not ask for the mesh.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog

from controlplane.model.problem import Level
from controlplane.runtime.https import Answer, Request, Route
from controlplane.webhooks.admission import Asked, Verdict, answered, asked
from controlplane.webhooks.injection.decision import NOT_LABELLED, OPTED_OUT, Namespace
from controlplane.webhooks.injection.render import Injected, Left, Outcome, Refused, inject
from controlplane.webhooks.injection.settings import InjectionSettings
from controlplane.webhooks.jsonpatch import diff

log = structlog.get_logger(__name__)

_POD: Final = ("", "Pod")

LabelsOf = Callable[[str], Mapping[str, str] | None]  # of a namespace; None: it is not known here


class InjectionWebhook:
    """Answers for one revision."""

    def __init__(
        self, settings: Callable[[], InjectionSettings], path: str, labels_of: LabelsOf = lambda _: None
    ) -> None:
        """`settings`: those that hold now; `path`: with its secret."""
        self._settings = settings
        self._path = path
        self._labels_of = labels_of
        self._counts: Counter[tuple[str, str]] = Counter()

    def routes(self) -> Sequence[Route]:
        """For an HTTPS server with `admission.LIMITS`."""
        return (Route("POST", self._path, self._answer, "the API server, who knows the path"),)

    @property
    def counts(self) -> Mapping[tuple[str, str], int]:
        """How many Pods were `injected`, `left` and `refused`, by why: for metrics."""
        return self._counts

    async def _answer(self, request: Request) -> Answer:
        question = await asked(request)
        return question if isinstance(question, Answer) else answered(question, self._verdict(question))

    def _verdict(self, question: Asked) -> Verdict:
        if (question.kind.group, question.kind.kind) != _POD or question.operation != "CREATE" or question.sub_resource:
            return Verdict()
        manifest = msgspec.json.decode(question.object)
        outcome = inject(self._settings(), Namespace(question.namespace), manifest)
        if isinstance(outcome, Refused):
            outcome = self._as_far_as_is_known(question.namespace, manifest, outcome)
        self._count(question, outcome)
        return _verdict(manifest, outcome)

    def _as_far_as_is_known(self, namespace: str, manifest: Any, refused: Refused) -> Outcome:
        found = inject(self._settings(), Namespace(namespace, self._labels_of(namespace)), manifest)
        did_not_ask = isinstance(found, Left) and found.skipped.why in {OPTED_OUT, NOT_LABELLED}
        return found if did_not_ask else refused

    def _count(self, question: Asked, outcome: Outcome) -> None:
        """Dry runs count as well: somebody was answered."""
        result = type(outcome).__name__.lower()
        why = outcome.skipped.why if isinstance(outcome, Left) else ""
        self._counts[result, why] += 1
        said = {"why": why} if why else {}
        told = [problem.message for problem in outcome.problems]
        write = log.debug if isinstance(outcome, Left) else log.info
        write("Pod", result=result, namespace=question.namespace, **said, **({"problems": told} if told else {}))


def _verdict(manifest: Any, outcome: Outcome) -> Verdict:
    warnings = [problem.message for problem in outcome.problems if problem.level is not Level.ERROR]
    if isinstance(outcome, Injected):
        return Verdict(patch=diff(manifest, outcome.pod), warnings=warnings)
    if isinstance(outcome, Left):
        return Verdict(warnings=warnings)
    reasons = [problem.message for problem in outcome.problems if problem.level is Level.ERROR]
    return Verdict(message=f"the sidecar cannot be injected: {'; '.join(reasons)}", warnings=warnings)
