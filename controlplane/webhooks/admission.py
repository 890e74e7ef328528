"""The API server's question about one object, and the answer: AdmissionReview, `admission.k8s.io/v1`.

The envelope is read strictly, the object in it not at all: it stays bytes until a webhook says what it expects.
"""

import base64
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from controlplane.runtime.https import Answer, Limits, Request, answer
from controlplane.webhooks.jsonpatch import Patch

VERSION: Final = "admission.k8s.io/v1"
KIND: Final = "AdmissionReview"

# An object has up to 3 MB in etcd, and a review of an update carries it twice. The API server asks many at a time, from
# one address a replica, over few connections.
LIMITS: Final = Limits(body=6 * 1024 * 1024, depth=64, per_address=512, request=10.0, idle=90.0)

_MOST_WARNINGS: Final = 20
_LONGEST_WARNING: Final = 250  # characters: API servers cut at 256, and drop warnings after 4096 in all
_REFUSED: Final = 422  # Unprocessable Entity, as for objects that the API server itself finds invalid


class Kind(msgspec.Struct, frozen=True):
    """What kind of object is asked about."""

    kind: str
    group: str = ""
    version: str = ""


class Asked(msgspec.Struct, frozen=True, rename="camel"):
    """`request` of a review."""

    uid: str
    kind: Kind
    operation: str
    namespace: str = ""
    name: str = ""
    sub_resource: str = ""
    dry_run: bool | None = None
    object: msgspec.Raw = msgspec.Raw(b"null")
    old_object: msgspec.Raw = msgspec.Raw(b"null")


class Review(msgspec.Struct, frozen=True, rename="camel"):
    """What the API server sends."""

    api_version: str
    kind: str
    request: Asked


class Verdict(msgspec.Struct, frozen=True):
    """What a webhook says. `message` is why not; without one the object is admitted."""

    message: str = ""
    patch: Patch = ()
    warnings: Sequence[str] = ()

    @property
    def allowed(self) -> bool:
        return not self.message


async def asked(request: Request) -> Asked | Answer:
    """The question in a request, or what to say to a caller that does not ask one. Raises `https.Refused`."""
    review = await request.json(Review)
    if (review.api_version, review.kind) != (VERSION, KIND):
        return answer({"why": "malformed", "message": f"an {KIND} of {VERSION} is expected here"}, 400)
    return review.request


def answered(question: Asked, verdict: Verdict) -> Answer:
    """The review that goes back."""
    response: dict[str, Any] = {"uid": question.uid, "allowed": verdict.allowed}
    if not verdict.allowed:
        response["status"] = {"message": verdict.message, "reason": "Invalid", "code": _REFUSED}
    if verdict.patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(msgspec.json.encode(verdict.patch)).decode()
    if verdict.warnings:
        response["warnings"] = [_short(warning) for warning in verdict.warnings[:_MOST_WARNINGS]]
    return answer({"apiVersion": VERSION, "kind": KIND, "response": response})


def _short(warning: str) -> str:
    return warning if len(warning) <= _LONGEST_WARNING else f"{warning[: _LONGEST_WARNING - 1]}…"
