"""Names that look like a workload's and are not: what a certificate may carry beside `spiffe://…/ns/shop/sa/web`.

They are written as DER by hand, because no library that makes certificates makes these.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from tests.tls import Signed

GOOD: Final = "spiffe://cluster.local/ns/shop/sa/web"
_URI, _DNS, _EMAIL, _DIRECTORY, _IP = 6, 2, 1, 4, 7  # tags of a GeneralName


class Spelling(NamedTuple):
    """The names of one certificate."""

    label: str
    names: tuple[tuple[int, bytes], ...]
    authority: bool = False  # a CA's certificate
    client: bool = True  # may be shown by a client


def _uri(label: str, text: str | bytes) -> Spelling:
    return Spelling(label, ((_URI, text if isinstance(text, bytes) else text.encode()),))


# Nobody of these is ns/shop sa/web.
WRONG: Final = (
    _uri("a NUL at the end", GOOD.encode() + b"\0"),
    _uri("a NUL and more", GOOD.encode() + b"\0.evil"),
    _uri("a NUL in front", b"\0" + GOOD.encode()),
    _uri("a NUL in the namespace", b"spiffe://cluster.local/ns/shop\0/sa/web"),
    _uri("a longer namespace", "spiffe://cluster.local/ns/shopp/sa/web"),
    _uri("a shorter namespace", "spiffe://cluster.local/ns/sho/sa/web"),
    _uri("a longer account", "spiffe://cluster.local/ns/shop/sa/web2"),
    _uri("more path", GOOD + "/x"),
    _uri("more path that is empty", GOOD + "/"),
    _uri("two slashes at the end", GOOD + "//"),
    _uri("two slashes in the middle", "spiffe://cluster.local//ns/shop/sa/web"),
    _uri("two slashes before the account", "spiffe://cluster.local/ns/shop/sa//web"),
    _uri("an empty account", "spiffe://cluster.local/ns/shop/sa/"),
    _uri("no account", "spiffe://cluster.local/ns/shop"),
    _uri("the other order", "spiffe://cluster.local/sa/web/ns/shop"),
    _uri("an upper-case scheme", "SPIFFE://cluster.local/ns/shop/sa/web"),
    _uri("an upper-case domain", "spiffe://CLUSTER.LOCAL/ns/shop/sa/web"),
    _uri("an upper-case namespace", "spiffe://cluster.local/ns/Shop/sa/web"),
    _uri("an upper-case account", "spiffe://cluster.local/ns/shop/sa/WEB"),
    _uri("an upper-case ns", "spiffe://cluster.local/NS/shop/sa/web"),
    _uri("a percent", "spiffe://cluster.local/ns/sh%6fp/sa/web"),
    _uri("an encoded slash", "spiffe://cluster.local/ns/shop%2fsa/web"),
    _uri("a query", GOOD + "?x=1"),
    _uri("an empty query", GOOD + "?"),
    _uri("a fragment", GOOD + "#x"),
    _uri("a user", "spiffe://cluster.local@evil/ns/shop/sa/web"),
    _uri("a user in front", "spiffe://x@cluster.local/ns/shop/sa/web"),
    _uri("a port", "spiffe://cluster.local:443/ns/shop/sa/web"),
    _uri("a dot at the end of the domain", "spiffe://cluster.local./ns/shop/sa/web"),
    _uri("a longer domain", "spiffe://cluster.local.evil/ns/shop/sa/web"),
    _uri("a domain in front", "spiffe://evil.cluster.local/ns/shop/sa/web"),
    _uri("another domain", "spiffe://evil/ns/shop/sa/web"),
    _uri("no domain", "spiffe:///ns/shop/sa/web"),
    _uri("one slash", "spiffe:/cluster.local/ns/shop/sa/web"),
    _uri("another scheme", "https://cluster.local/ns/shop/sa/web"),
    _uri("no scheme", "cluster.local/ns/shop/sa/web"),
    _uri("steps up", "spiffe://cluster.local/ns/x/../shop/sa/web"),
    _uri("steps nowhere", "spiffe://cluster.local/./ns/shop/sa/web"),
    _uri("backslashes", "spiffe://cluster.local\\ns\\shop\\sa\\web"),
    _uri("a space in front", " " + GOOD),
    _uri("a space at the end", GOOD + " "),
    _uri("a line end", GOOD + "\n"),
    _uri("a tab", "spiffe://cluster.local/ns/shop/sa/\tweb"),
    _uri("a letter that looks the same", "spiffe://cluster.local/ns/sh\u043ep/sa/web"),
    _uri("a wide letter", "spiffe://cluster.local/ns/\uff53hop/sa/web"),
    _uri("a letter without width", "spiffe://cluster.local/ns/shop\u200b/sa/web"),
    _uri("bytes that are no text", GOOD.encode() + b"\xff\xfe"),
    _uri("a star", "spiffe://cluster.local/ns/*/sa/web"),
    _uri("two in one", GOOD + "," + GOOD),
    _uri("nothing", ""),
    _uri("a name as long as the limit of a domain", "spiffe://" + "a" * 300 + "/ns/shop/sa/web"),
    Spelling("as a DNS name", ((_DNS, GOOD.encode()),)),
    Spelling("as an email address", ((_EMAIL, GOOD.encode()),)),
    Spelling("two names, ours first", ((_URI, GOOD.encode()), (_URI, b"spiffe://cluster.local/ns/other/sa/web"))),
    Spelling("two names, ours last", ((_URI, b"spiffe://cluster.local/ns/other/sa/web"), (_URI, GOOD.encode()))),
    Spelling("twice the same", ((_URI, GOOD.encode()), (_URI, GOOD.encode()))),
    Spelling("a DNS name beside", ((_URI, GOOD.encode()), (_DNS, b"shop"))),
    Spelling("an address beside", ((_URI, GOOD.encode()), (_IP, b"\x7f\0\0\1"))),
    Spelling("no names", ()),
    Spelling("an authority's", ((_URI, GOOD.encode()),), authority=True),
    Spelling("a server's alone", ((_URI, GOOD.encode()),), client=False),
)
RIGHT: Final = Spelling("right", ((_URI, GOOD.encode()),))


def certificate(spelling: Spelling, issuer: Signed, *, days: float = 1.0) -> Signed:
    """A certificate with these names, whose CommonName is the good one too."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    usage = ExtendedKeyUsageOID.CLIENT_AUTH if spelling.client else ExtendedKeyUsageOID.SERVER_AUTH
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, GOOD)]))
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=spelling.authority, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    )
    if spelling.names:
        names = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, _der(spelling.names))
        builder = builder.add_extension(names, critical=False)
    return Signed(builder.sign(issuer.key, SHA256()), key)


def _der(names: tuple[tuple[int, bytes], ...]) -> bytes:
    """A SEQUENCE of GeneralNames."""
    return _value(0x30, b"".join(_value(0x80 | tag, content) for tag, content in names))


def _value(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 0x80 else bytes([0x82]) + size.to_bytes(2, "big")
    return bytes([tag]) + length + content
