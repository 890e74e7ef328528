"""Kubernetes Secrets with key material that is good, and some that is not."""

from base64 import b64encode
from functools import cache
from typing import Any

from tests.tls import Signed, signed


def secret(name: str, namespace: str, /, **data: bytes) -> dict[str, Any]:
    """One with these contents; `_` in a key stands for a dot."""
    encoded = {key.replace("_", "."): b64encode(value).decode() for key, value in data.items()}
    meta = {"name": name, "namespace": namespace}
    kind = "kubernetes.io/tls" if "tls.crt" in encoded else "Opaque"
    return {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": meta, "data": encoded}


def tls_secret(name: str, namespace: str, made: Signed | None = None, *, ca: bool = False) -> dict[str, Any]:
    """A certificate and its key, with authorities if asked for."""
    made = made or pair()
    more = {"ca_crt": made.pem} if ca else {}
    return secret(name, namespace, tls_crt=made.pem, tls_key=made.key_pem, **more)


@cache
def pair() -> Signed:
    """Good for any test that does not look at names."""
    return signed("localhost")
