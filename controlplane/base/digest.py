"""Content digests: the same bytes have the same name, on every replica and after every restart."""

from hashlib import blake2b


def digest(content: bytes) -> str:
    """16 hexadecimal characters that name `content`.

    64 bits: Envoy sends every version back when it reconnects, so versions stay short (a reconnect with
    40,000 clusters is 5.5 MB at 16 characters); two different contents under one *name* collide once in 2**64.
    """
    return blake2b(content, digest_size=8).hexdigest()
