"""Many calls, each asked of the real Envoy and of the simulator."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from controlplane.explain import Address, Call, Outcome, Resources, Stage, simulate
from tests.envoys import Upstreams
from tests.explain.case import Addresses, Case, Provider, merge
from tests.explain.compare import disagreements
from tests.explain.coverage import Coverage
from tests.explain.observe import Observation, envoy_of, observe

_BATCH = 40  # cases in one Envoy


class Disagreement(msgspec.Struct, frozen=True):
    """One call the two see differently."""

    resources: Resources  # of its own case
    call: Call
    said: Outcome
    did: Observation
    differences: tuple[str, ...]


class Report(msgspec.Struct):
    """What a run came to."""

    coverage: Coverage
    disagreements: list[Disagreement]


def run(provider: Provider, seeds: Iterable[int], upstreams: Upstreams) -> Report:
    """Generates, asks, compares; `seeds` one case each."""
    endpoints = [Address(*upstreams.add(f"endpoint-{number}")) for number in range(12)]
    addresses, report = Addresses(), Report(Coverage(), [])
    for batch in _batches(seeds):
        ask([provider(seed, addresses, endpoints) for seed in batch], report)
    return report


def ask(cases: Sequence[Case], report: Report) -> None:
    """All calls of these cases, in one Envoy."""
    whole = merge(cases)
    calls = [call for case in cases for call in case.calls]
    owners = [case for case in cases for _ in case.calls]
    with envoy_of(whole) as envoy:
        observed = observe(envoy, calls)
        for index, did in enumerate(observed):
            # On a busy machine a client may be slower than a listener is patient; that is asked again.
            if did.timed_out and simulate(whole, did.call).ended_at.stage is not Stage.LISTENER_FILTERS:
                observed[index] = observe(envoy, [calls[index]])[0]
    for case, did in zip(owners, observed, strict=True):
        said = simulate(whole, did.call)
        report.coverage.see(said, did.call)
        if found := disagreements(said, did):
            report.disagreements.append(Disagreement(case.resources, did.call, said, did, tuple(found)))


def _batches(seeds: Iterable[int]) -> Iterator[list[int]]:
    batch: list[int] = []
    for seed in seeds:
        batch.append(seed)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
