"""Many random (policies, call) pairs, each asked of the evaluator and of a real Envoy."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from random import Random  # noqa: TID251  seeded by the test
from typing import Any, NamedTuple

import msgspec

from controlplane.explain.authorization import Asked, Decision, Message, decide
from controlplane.explain.call import Address
from controlplane.model.settings import MeshPathNormalization, PathNormalization, Settings
from tests.explain.authorization import words
from tests.explain.authorization.calls import Caller, Sent, any_caller, any_sent
from tests.explain.authorization.client import Answer, Verdict, ask, connect
from tests.explain.authorization.policies import OWN_PORT, TCP_PORT, any_policies
from tests.explain.authorization.stage import Set, envoy_of
from tests.explain.case import Addresses

_CALLERS = 4  # connections of HTTP to each set
_REQUESTS = 20  # on each of them
_BYTES = 8  # connections of bytes
PAIRS_OF_A_SET = _CALLERS * _REQUESTS + _BYTES
_SETS_OF_AN_ENVOY = 250
_THREADS = 16


class Disagreement(NamedTuple):
    """One call the two judge differently."""

    of: Set
    caller: Caller
    sent: Sent | None  # None: bytes
    said: Decision
    did: Answer

    @property
    def is_unsafe(self) -> bool:
        """It came through and should not."""
        return self.did.verdict is Verdict.ALLOWED and not self.said.allowed


class Report(msgspec.Struct):
    """What a run came to."""

    seen: Counter[str] = msgspec.field(default_factory=Counter)
    disagreements: list[Disagreement] = msgspec.field(default_factory=list)

    @property
    def pairs(self) -> int:
        """Calls that rules decided; those that never came to them are not counted."""
        return self.seen["allowed"] + self.seen["denied"]

    def see(self, of: Set, caller: Caller, sent: Sent | None, did: Answer) -> None:
        """One call."""
        self.seen[str(did.verdict)] += 1
        if did.verdict is Verdict.REFUSED:
            return
        said = decide(of.policies, asked(of, caller, sent), of.settings)
        self.seen[f"{'bytes' if sent is None else 'requests'} {did.verdict}"] += 1
        self.seen[f"{'by a rule' if said.by is not None else 'by no rule'}, {did.verdict}"] += 1
        if differs(said, did, sent):
            self.disagreements.append(Disagreement(of, caller, sent, said, did))


def differs(said: Decision, did: Answer, sent: Sent | None) -> bool:
    """In the verdict, or in what is noted of dry runs."""
    if said.allowed is not (did.verdict is Verdict.ALLOWED):
        return True
    if sent is None or did.verdict is not Verdict.ALLOWED:
        return False
    noted = {"DENY": did.dry_denied, "ALLOW": did.dry_allowed}
    wanted = {str(one.action): "allowed" if one.allowed else "denied" for one in said.dry_runs}
    return any(noted[action].strip("-") != wanted.get(action, "") for action in noted)


def asked(of: Set, caller: Caller, sent: Sent | None) -> Asked:
    """A call as policies are asked about it."""
    forwarded = sent.forwarded.rpartition(",")[2].strip() if sent else ""
    return Asked(
        names=caller.certificate,
        source=caller.source,
        remote=forwarded,
        destination=Address(of.addresses[caller.second_address], OWN_PORT if sent else TCP_PORT),
        server_name=caller.server_name,
        message=sent.message if sent else None,
        claims=words.CLAIMS[sent.token] if sent and sent.token >= 0 else None,
    )


def run(seeds: Iterable[int], upstream: Address) -> Report:
    """One set of policies for each seed; at `upstream` somebody answers who sends bytes."""
    addresses, report = Addresses(), Report()
    for some in _batches(seeds, _SETS_OF_AN_ENVOY):
        sets = [any_set(Random(seed), f"s{seed}", addresses) for seed in some]
        with envoy_of(sets, upstream), ThreadPoolExecutor(_THREADS) as pool:
            for of, calls in zip(sets, pool.map(make_calls, some, sets), strict=True):
                for caller, sent, did in calls:
                    report.see(of, caller, sent, did)
    return report


def any_set(random: Random, name: str, addresses: Addresses) -> Set:
    """Random policies under random settings."""
    normalization = random.choice(list(PathNormalization))
    settings = Settings(
        trust_domain="mesh.example",
        trust_domain_aliases=random.choice(((), ("old.example",), ("old.example", "older.example"))),
        path_normalization=MeshPathNormalization(normalization=normalization),
    )
    return Set.of(name, any_policies(random), settings, (addresses.take(), addresses.take()))


_Call = tuple[Caller, Sent | None, Answer]


def make_calls(seed: int, of: Set) -> list[_Call]:
    """Random calls of an Envoy that serves the set, and what came of them."""
    random = Random(f"calls {seed}")
    found: list[_Call] = []
    for _ in range(_CALLERS):
        caller = any_caller(random)
        requests = [any_sent(random, of.documents, http2=caller.http2) for _ in range(_REQUESTS)]
        found += [(caller, sent, did) for sent, did in zip(requests, requests_to(of, caller, requests), strict=True)]
    for _ in range(_BYTES):
        caller = msgspec.structs.replace(any_caller(random), http2=False)
        found.append((caller, None, bytes_to(of, caller)))
    return found


def requests_to(of: Set, caller: Caller, requests: Sequence[Sent]) -> list[Answer]:
    return ask(caller, (of.addresses[caller.second_address], OWN_PORT), requests)


def bytes_to(of: Set, caller: Caller) -> Answer:
    return Answer(connect(caller, (of.addresses[caller.second_address], TCP_PORT)))


def _batches(seeds: Iterable[int], size: int) -> Iterator[list[int]]:
    left = iter(seeds)
    while batch := list(islice(left, size)):
        yield batch


def words_of(one: Disagreement) -> str:
    """For a person: the policies, the call, what either said."""
    call: Any = (one.caller, one.sent or "bytes")
    documents = "\n".join(msgspec.json.encode(document).decode() for document in one.of.documents)
    claims = words.CLAIMS[one.sent.token] if one.sent and one.sent.token >= 0 else None
    kind = "UNSAFE" if one.is_unsafe else "safe"
    return f"{kind}\n{one.of.settings.path_normalization}\n{documents}\n{call}\n{claims}\n{one.did}\n{one.said}"


__all__ = ["Disagreement", "Message", "Report", "asked", "differs", "run", "words_of"]
