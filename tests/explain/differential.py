"""Many calls, each asked of the real Envoy and of the simulator."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import msgspec

from controlplane.explain import Address, Call, Outcome, Resources, Speaks, Stage, simulate
from tests.envoys import Upstreams
from tests.explain.case import Addresses, Case, Provider, merge
from tests.explain.compare import disagreements
from tests.explain.coverage import Coverage
from tests.explain.observe import Observation, envoy_of, observe

_LONG = 6.0  # seconds
_BATCH = 40  # cases in one Envoy
WORKLOAD_PORTS = (8001, 8002)  # as in `tests.meshes`


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


def run(provider: Provider, seeds: Iterable[int], upstreams: Upstreams, *, batch: int = _BATCH) -> Report:
    """Generates, asks, compares; `seeds` one case each, `batch` of them share an Envoy."""
    addresses, report = Addresses(), Report(Coverage(), [])
    endpoints = _endpoints(upstreams, addresses)
    for some in _batches(seeds, batch):
        ask([provider(seed, addresses, endpoints) for seed in some], report, upstreams)
    return report


def _endpoints(upstreams: Upstreams, addresses: Addresses) -> list[Address]:
    """Six machines that answer on the same two ports."""
    machines = [addresses.take() for _ in range(6)]
    places = [(machine, port) for machine in machines for port in WORKLOAD_PORTS]
    return [Address(*upstreams.add(f"{machine}:{port}", machine, port)) for machine, port in places]


def ask(cases: Sequence[Case], report: Report, upstreams: Upstreams) -> None:
    """All calls of these cases, in one Envoy."""
    whole = merge(cases)
    calls = [call for case in cases for call in case.calls]
    owners = [case for case in cases for _ in case.calls]
    with envoy_of(whole, cases[0].stand_in) as envoy:
        observed = observe(envoy, calls)
        for index, did in enumerate(observed):
            if _may_be_late(simulate(whole, did.call), did):
                observed[index] = observe(envoy, [calls[index]], silence=_LONG)[0]
        observed = [_as_upstreams_saw(did, upstreams) for did in observed]
    for case, did in zip(owners, observed, strict=True):
        said = simulate(whole, did.call)
        report.coverage.see(said, did.call)
        if found := disagreements(said, did):
            report.disagreements.append(Disagreement(case.resources, did.call, said, did, tuple(found)))


def _as_upstreams_saw(did: Observation, upstreams: Upstreams) -> Observation:
    seen = upstreams.seen.get((did.upstream_client, did.endpoint), "")
    return msgspec.structs.replace(did, secured=seen)


def _may_be_late(said: Outcome, did: Observation) -> bool:
    """Only what depends on timeouts is asked again: a busy machine makes clients slow and Envoy's timers late."""
    if did.call.speaks is Speaks.NOTHING:
        return bool(disagreements(said, did))
    return did.timed_out and said.ended_at.stage is not Stage.LISTENER_FILTERS


def _batches(seeds: Iterable[int], size: int) -> Iterator[list[int]]:
    left = iter(seeds)
    while batch := list(islice(left, size)):
        yield batch
