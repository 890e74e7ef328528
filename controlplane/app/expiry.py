"""Certificates of Secrets end while nothing else happens. Compile knows no time, so whoever asks looks at the clock."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from controlplane.compile.secrets import End
from controlplane.model.problem import Level, Problem


def expired(ends: Iterable[End], now: datetime) -> Iterator[Problem]:
    """Certificates that are served and that nobody accepts any more."""
    for end in ends:
        if end.at <= now:
            text = f"the certificate ended at {end.at:%Y-%m-%d %H:%M} UTC: clients refuse it until there is another"
            yield from (Problem("CertificateExpired", Level.ERROR, origin, text) for origin in end.origins)
