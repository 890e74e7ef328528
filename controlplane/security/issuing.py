"""From a CSR and a caller to a certificate. Pure but for the signature's own randomness.

The name comes from the authenticated caller, never from the CSR; of that only the key is taken. Profile, lifetime and
serial are ours. What was issued can be parsed again and compared with what was meant: `tests/security` does so for
every certificate it gets.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID

from controlplane.base.identity import Identity
from controlplane.security.authority import BACKDATED, Authority, pem
from controlplane.security.refusal import Refusal, Why
from controlplane.security.request import PublicKey, requested_key

SERIAL_BITS: Final = 128  # positive, so that 17 bytes hold the largest; RFC 5280 allows 20


class Lifetimes(msgspec.Struct, frozen=True):
    """How long certificates of workloads last. A caller may ask for less or more, within bounds."""

    default: timedelta = timedelta(hours=24)
    shortest: timedelta = timedelta(minutes=1)
    longest: timedelta = timedelta(hours=24)

    def granted(self, asked: timedelta | None) -> timedelta:
        """What a caller gets that asked for this much."""
        return self.default if asked is None else max(self.shortest, min(asked, self.longest))


STANDARD: Final = Lifetimes()


class Issued(msgspec.Struct, frozen=True):
    """A certificate with what leads to a root, in PEM: as Envoy's `certificate_chain` wants it."""

    chain: bytes
    not_before: datetime
    not_after: datetime


def issue(  # noqa: PLR0913  who, what, by whom, for how long
    csr: bytes,
    caller: Identity,
    authority: Authority,
    *,
    now: datetime,
    serial: int,
    asked: timedelta | None = None,
    lifetimes: Lifetimes = STANDARD,
) -> Issued | Refusal:
    """A certificate for `caller` and the key of `csr`. `serial`: 128 bits that nobody can guess."""
    if not caller.is_spelled_right:
        return Refusal(Why.IDENTITY, f"{caller.uri!r} cannot be the name of a workload")
    key = requested_key(csr)
    if isinstance(key, Refusal):
        return key
    return _signed(key, (x509.UniformResourceIdentifier(caller.uri),), authority, now, serial, asked, lifetimes)


def issue_serving(  # noqa: PLR0913  as above
    key: PublicKey,
    names: Sequence[str],
    server: Identity,
    authority: Authority,
    *,
    now: datetime,
    serial: int,
    lifetimes: Lifetimes = STANDARD,
) -> Issued | Refusal:
    """A certificate for a server of ours, which clients know by DNS names too. Nobody can ask for one."""
    known_by: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    known_by.append(x509.UniformResourceIdentifier(server.uri))
    return _signed(key, known_by, authority, now, serial, None, lifetimes)


def _signed(  # noqa: PLR0913, PLR0917  as above
    key: PublicKey,
    names: Sequence[x509.GeneralName],
    authority: Authority,
    now: datetime,
    serial: int,
    asked: timedelta | None,
    lifetimes: Lifetimes,
) -> Issued | Refusal:
    now = now.replace(microsecond=0)  # certificates have none
    signers = (authority.certificate, *authority.chain)
    last = min(one.not_valid_after_utc for one in signers)
    ends = min(now + lifetimes.granted(asked), last)
    if ends < now + lifetimes.shortest:
        expiry = f"{last:%Y-%m-%d %H:%M} UTC"
        return Refusal(Why.AUTHORITY, f"the authority's own certificate ends at {expiry}: rotate it (lateen ca rotate)")
    begins = max(now - BACKDATED, authority.certificate.not_valid_before_utc)
    certificate = _certificate(key, names, authority, begins, ends, serial)
    return Issued(pem((certificate, *_above(authority))), begins, ends)


def _above(authority: Authority) -> tuple[x509.Certificate, ...]:
    """What a peer needs to get from a workload's certificate to a root it trusts: not the root itself."""
    signer = authority.certificate
    return () if signer in authority.roots else (signer, *authority.chain)


def _certificate(  # noqa: PLR0913, PLR0917  the fields of one certificate
    key: PublicKey,
    names: Sequence[x509.GeneralName],
    authority: Authority,
    begins: datetime,
    ends: datetime,
    serial: int,
) -> x509.Certificate:
    signer = authority.certificate
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))  # the SAN is the name, and critical because there is no other
        .issuer_name(signer.subject)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(key), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(_signer_id(signer), critical=False)
        .sign(authority.key, SHA256())
    )


def _signer_id(signer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """As the signer calls its key itself: who made it may have its own way to number keys, and verifiers compare."""
    try:
        own = signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())  # type: ignore[arg-type]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _usage(key: PublicKey) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=isinstance(key, rsa.RSAPublicKey),
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
