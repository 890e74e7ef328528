"""Who a workload is: `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.

Everything that decides by identity compares whole values. A name is taken apart here and nowhere else, and only if it
is spelled exactly so: no other depth, no empty part, no character that Kubernetes would not take, so that `ns/a` is
never a prefix of `ns/ab` and nothing behind a NUL, a `%` or a `..` is ever looked at.
"""

from string import ascii_lowercase, digits
from typing import Final, NamedTuple

_LABEL: Final = frozenset(ascii_lowercase + digits + "-")
_NAME: Final = _LABEL | {"."}
_DOMAIN: Final = _NAME | {"_"}  # SPIFFE allows it in trust domains
_LONGEST: Final = {"label": 63, "name": 253, "domain": 255}


class Identity(NamedTuple):
    """The parts of a workload's SPIFFE id."""

    trust_domain: str
    namespace: str
    account: str

    @property
    def uri(self) -> str:
        """As it stands in a certificate."""
        return uri_of(self.trust_domain, f"{self.namespace}/{self.account}")

    @property
    def is_spelled_right(self) -> bool:
        """Whether each part is a name that Kubernetes, or SPIFFE, would take."""
        return (
            _is(self.trust_domain, _DOMAIN, _LONGEST["domain"])
            and _is(self.namespace, _LABEL, _LONGEST["label"])
            and _is(self.account, _NAME, _LONGEST["name"])
        )


def uri_of(trust_domain: str, account: str) -> str:
    """The SPIFFE id of "namespace/account" in a trust domain."""
    namespace, _, name = account.partition("/")
    return f"spiffe://{trust_domain}/ns/{namespace}/sa/{name}"


def parse_identity(uri: str) -> Identity | None:
    """`spiffe://cluster.local/ns/default/sa/bookinfo`; None for anything else."""
    scheme, separator, rest = uri.partition("://")
    parts = rest.split("/")
    if scheme != "spiffe" or not separator or len(parts) != 5 or (parts[1], parts[3]) != ("ns", "sa"):
        return None
    found = Identity(parts[0], parts[2], parts[4])
    return found if found.is_spelled_right else None


def _is(text: str, alphabet: frozenset[str], longest: int) -> bool:
    return 0 < len(text) <= longest and alphabet.issuperset(text) and text[0] not in "-._" and text[-1] not in "-._"
