"""Roots on disk: whole or not at all, for the owner's eyes, and never replaced in silence."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controlplane.security.authority import pem
from controlplane.security.issuing import STANDARD, Issued, issue
from controlplane.security.keeping import KEPT, TRUSTED, AuthorityError, load, plugged_in, save
from controlplane.security.rotation import Roots, begin, switch
from tests.security.requests import CALLER, NOW, assert_as_meant, csr, root


def signers(roots: Roots | None) -> list[object]:
    assert roots is not None
    both = (roots.current, roots.coming)
    return [roots.step, *[(one.certificate, one.chain, one.roots, one.key.private_numbers()) for one in both if one]]


def test_what_is_saved_is_loaded_at_every_step(tmp_path):
    folder = tmp_path / "ca"
    assert load(folder) is None
    steady = Roots(root(1))
    trusting = begin(steady, root(2))
    assert isinstance(trusting, Roots)
    issuing = switch(trusting, ())
    assert isinstance(issuing, Roots)
    for roots in (steady, trusting, issuing):
        save(folder, roots)
        assert signers(load(folder)) == signers(roots)
        assert (folder / TRUSTED).read_bytes() == roots.bundle
        assert (folder / KEPT).stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in folder.iterdir()) == [KEPT, TRUSTED], "nothing half-written is left"


def test_a_root_that_is_gone_is_not_replaced_in_silence(tmp_path):
    save(tmp_path, Roots(root()))
    (tmp_path / KEPT).unlink()
    with pytest.raises(AuthorityError, match="backup"):
        load(tmp_path)


def test_keys_that_others_may_read_are_refused(tmp_path):
    save(tmp_path, Roots(root()))
    (tmp_path / KEPT).chmod(0o640)
    with pytest.raises(AuthorityError, match="chmod 600"):
        load(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [b"", b"{}", b"not json", b'{"step":"steady","current":{"key":"","certificate":"","chain":"","roots":""}}'],
)
def test_a_damaged_file_is_an_error(tmp_path, damage):  # fmt: skip
    save(tmp_path, Roots(root()))
    (tmp_path / KEPT).write_bytes(damage)
    with pytest.raises(AuthorityError, match="damaged"):
        load(tmp_path)


def test_a_write_that_fails_leaves_the_old_roots(tmp_path, monkeypatch):
    old = Roots(root(1))
    save(tmp_path, old)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path, Roots(root(2)))
    monkeypatch.undo()
    assert signers(load(tmp_path)) == signers(old)
    assert sorted(path.name for path in tmp_path.iterdir()) == [KEPT, TRUSTED]


class Plugged:
    """Files as Istio's `cacerts`: a root, an intermediate, and the authority under it."""

    def __init__(self, folder: Path, *, ca: bool = True, life: timedelta = timedelta(days=30)) -> None:
        self.folder, self.top = folder, root()
        middle_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        self.middle = self._signed("middle", middle_key, self.top.certificate, self.top.key, ca=True, life=life)
        self.signer = self._signed("signer", key, self.middle, middle_key, ca=ca, life=life)
        self.key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @staticmethod
    def _signed(name, key, issuer, issuer_key, *, ca, life):
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer.subject).serial_number(9)
        builder = builder.not_valid_before(NOW - timedelta(days=1)).not_valid_after(NOW + life)
        builder = builder.public_key(key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        return builder.sign(issuer_key, SHA256())

    def write(self, **changed: bytes | None) -> Path:
        files: dict[str, bytes | None] = {
            "ca-cert.pem": pem((self.signer,)),
            "ca-key.pem": self.key,
            "root-cert.pem": pem((self.top.certificate,)),
            "cert-chain.pem": pem((self.signer, self.middle, self.top.certificate)),
        }
        for name, content in (
            files | {key.replace("_", "-") + ".pem": value for key, value in changed.items()}
        ).items():
            if content is not None:
                (self.folder / name).write_bytes(content)
        return self.folder


def test_a_plugged_in_intermediate_signs_and_sends_its_chain(tmp_path):
    files = Plugged(tmp_path)
    authority = plugged_in(files.write(), NOW)
    assert authority is not None
    assert authority.chain == (files.middle,), "the signer and the root are not repeated"
    request = csr()
    found = issue(request, CALLER, authority, now=NOW, serial=4)
    assert isinstance(found, Issued)
    assert_as_meant(found, CALLER, authority, request, STANDARD)
    leaf, *above = x509.load_pem_x509_certificates(found.chain)
    assert above == [files.signer, files.middle]
    leaf.verify_directly_issued_by(above[0])
    above[0].verify_directly_issued_by(above[1])
    above[1].verify_directly_issued_by(files.top.certificate)


def test_no_files_are_no_authority(tmp_path):
    assert plugged_in(tmp_path, NOW) is None


@pytest.mark.parametrize(
    ("made", "changed", "says"),
    [
        ({}, {"ca_key": None}, "ca-key.pem"),
        ({}, {"ca_key": Plugged(Path()).key}, "does not belong"),
        ({}, {"root_cert": pem((root().certificate,))}, "does not lead"),
        ({}, {"cert_chain": b""}, "cannot be read"),
        ({}, {"cert_chain": None}, "does not lead"),
        ({}, {"ca_cert": b"nothing"}, "cannot be read"),
        ({"ca": False}, {}, "no CA certificate"),
        ({"life": timedelta(hours=-1)}, {}, "expired"),
    ],
)
def test_what_cannot_work_is_said_at_the_start(tmp_path, made, changed, says):
    with pytest.raises(AuthorityError, match=says):
        plugged_in(Plugged(tmp_path, **made).write(**changed), NOW)
