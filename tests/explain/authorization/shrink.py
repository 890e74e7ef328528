"""Make a disagreement small enough to read: remove whatever is not needed for it.

All that is one step smaller is tried at once, each before a listener of its own in one Envoy.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

import msgspec

from controlplane.explain import Address
from controlplane.explain.authorization import Message, decide
from controlplane.model.settings import Settings
from tests.explain.authorization.calls import Caller, Sent
from tests.explain.authorization.client import Answer
from tests.explain.authorization.differential import Disagreement, asked, bytes_to, differs, requests_to
from tests.explain.authorization.stage import Set, envoy_of
from tests.explain.case import Addresses

_ROUNDS = 100
_AT_ONCE = 200


def shrink(found: Disagreement, upstream: Address) -> Disagreement:
    """The smallest that can be reached by removing one thing at a time, as long as it is as unsafe as before."""
    addresses = Addresses()
    for _ in range(_ROUNDS):
        smaller = _smaller(found, addresses, upstream)
        if smaller is None:
            break
        found = smaller
    return found


def _smaller(found: Disagreement, addresses: Addresses, upstream: Address) -> Disagreement | None:
    tries = [
        (Set.of(f"c{number}", documents, settings, (addresses.take(), addresses.take())), caller, sent)
        for number, (documents, settings, caller, sent) in zip(range(_AT_ONCE), _candidates(found), strict=False)
    ]
    with envoy_of([each[0] for each in tries], upstream):
        for of, caller, sent in tries:
            did = _did(of, caller, sent)
            said = decide(of.policies, asked(of, caller, sent), of.settings)
            candidate = Disagreement(of, caller, sent, said, did)
            if differs(said, did, sent) and candidate.is_unsafe is found.is_unsafe:
                return candidate
    return None


def _did(of: Set, caller: Caller, sent: Sent | None) -> Answer:
    return bytes_to(of, caller) if sent is None else requests_to(of, caller, [sent])[0]


_Candidate = tuple[Sequence[Any], Settings, Caller, Sent | None]


def _candidates(found: Disagreement) -> Iterator[_Candidate]:
    of, caller, sent = found.of, found.caller, found.sent
    for documents in _less(list(of.documents)):
        yield documents, of.settings, caller, sent
    if of.settings != Settings(trust_domain=of.settings.trust_domain):
        yield of.documents, Settings(trust_domain=of.settings.trust_domain), caller, sent
    for field in Caller.__struct_fields__:
        if getattr(caller, field) != getattr(Caller(), field):
            yield of.documents, of.settings, msgspec.structs.replace(caller, **{field: getattr(Caller(), field)}), sent
    if sent is not None:
        for smaller in _sent(sent):
            yield of.documents, of.settings, caller, smaller


def _sent(sent: Sent) -> Iterator[Sent]:
    plain = Sent(Message(host="a"))
    for field in ("token", "absolute", "forwarded"):
        if getattr(sent, field) != getattr(plain, field):
            yield msgspec.structs.replace(sent, **{field: getattr(plain, field)})
    message = sent.message
    for i in range(len(message.headers)):
        headers = message.headers[:i] + message.headers[i + 1 :]
        yield msgspec.structs.replace(sent, message=msgspec.structs.replace(message, headers=headers))
    for field in ("method", "host", "path"):
        if getattr(message, field) != getattr(plain.message, field):
            smaller = msgspec.structs.replace(message, **{field: getattr(plain.message, field)})
            yield msgspec.structs.replace(sent, message=smaller)


def _less(document: Any) -> Iterator[Any]:
    """Copies with one entry less, big things first. Names and kinds stay."""
    if isinstance(document, list):
        for i in range(len(document)):
            yield [*document[:i], *document[i + 1 :]]
        for i, item in enumerate(document):
            for smaller in _less(item):
                yield [*document[:i], smaller, *document[i + 1 :]]
    elif isinstance(document, dict):
        removable = document.keys() - {"apiVersion", "kind", "metadata", "spec", "name", "namespace", "key", "provider"}
        for key in sorted(removable):
            yield {name: deepcopy(value) for name, value in document.items() if name != key}
        for key, item in document.items():
            for smaller in _less(item):
                yield {**deepcopy(document), key: smaller}
