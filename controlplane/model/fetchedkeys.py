"""Keys of a token issuer that the control plane asked for: an input like any other."""

import msgspec


class FetchedKeys(msgspec.Struct, frozen=True):
    """What is known of one place. With both, the keys are of an earlier answer."""

    jwks: str = ""  # "" = none
    failure: str = ""  # a clause: why the last question was in vain
