"""`envoy --mode validate` on what comes of every field: values that count are values a proxy can be given."""

from hashlib import sha256

import pytest

from controlplane.explain import decode
from tests.compile.test_every_field import cases, shown
from tests.envoys import validate

SMALL = 40


@pytest.mark.point
@pytest.mark.timeout(900)
def test_envoy_takes_what_comes_of_every_field(size, proved):
    every = [*cases()]
    chosen = every[:: max(1, len(every) // size(SMALL, len(every)))]
    known: set[bytes] = set()
    refused: list[str] = []
    for case in chosen:
        with shown(case, case.after) as (_, clients, _found):
            for client in clients:
                resources = client.resources()
                digest = sha256(b"".join(one.body for one in resources)).digest()
                if digest not in known:
                    known.add(digest)
                    told = validate(decode(resources)[0], validate_clusters=False)
                    refused += [f"{case}, {client.proxy.name}: {each}" for each in told]
    print(*refused, sep="\n")
    proved(
        "3", "each field of each kind: configurations that `envoy --mode validate` refuses",
        bound="0", figure=str(len(refused)), holds=not refused, cases=len(chosen), asked=min(size(SMALL, len(every)), len(every)),
    )  # fmt: skip
