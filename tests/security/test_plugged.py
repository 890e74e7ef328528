"""Somebody else's authority, in files: used as it is, or refused in words, never replaced by one of ours."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from controlplane.security.authority import pem
from controlplane.security.issuing import STANDARD, Issued, issue
from controlplane.security.keeping import AuthorityError
from controlplane.security.plugged import fingerprint, plugged_in
from tests.security.plugging import Plugged
from tests.security.requests import CALLER, NOW, assert_as_meant, csr, root


def test_a_plugged_in_intermediate_signs_and_sends_its_chain(tmp_path):
    files = Plugged(tmp_path)
    authority = plugged_in(files.write(), NOW)
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


def test_the_chain_may_stand_in_the_signers_file_too(tmp_path):
    files = Plugged(tmp_path)
    folder = files.write(ca_cert=pem((files.signer, files.middle)), cert_chain=None)
    assert plugged_in(folder, NOW).chain == (files.middle,)


def test_a_signer_that_numbers_its_key_its_own_way_is_named_so(tmp_path):
    """OpenSSL, and so everybody, compares the two when it looks for who signed."""
    authority = plugged_in(Plugged(tmp_path, own_id=b"\x01\x02\x03").write(), NOW)
    found = issue(csr(), CALLER, authority, now=NOW, serial=4)
    assert isinstance(found, Issued)
    leaf = x509.load_pem_x509_certificates(found.chain)[0]
    assert leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == b"\x01\x02\x03"


def test_no_certificate_outlives_its_chain(tmp_path):
    authority = plugged_in(Plugged(tmp_path, life=timedelta(hours=2)).write(), NOW)
    found = issue(csr(), CALLER, authority, now=NOW, serial=4)
    assert isinstance(found, Issued)
    assert found.not_after == NOW + timedelta(hours=2)


@pytest.mark.parametrize(
    ("made", "changed", "says"),
    [
        ({}, {"ca_cert": None, "ca_key": None, "root_cert": None}, "has no ca-cert.pem, ca-key.pem, root-cert.pem"),
        ({}, {"ca_key": None}, "ca-key.pem"),
        ({}, {"ca_key": Plugged(Path()).key}, "does not belong"),
        ({}, {"root_cert": pem((root().certificate,))}, "does not lead"),
        ({}, {"root_cert": b""}, "cannot be read"),
        ({}, {"cert_chain": b""}, "cannot be read"),
        ({}, {"cert_chain": None}, "does not lead"),
        ({}, {"ca_cert": b"nothing"}, "cannot be read"),
        ({"ca": False}, {}, "no CA certificate"),
        ({"life": timedelta(hours=-1)}, {}, "expired"),
        ({"now": NOW + timedelta(days=9)}, {}, "is valid from"),
        ({"key": rsa.generate_private_key(65537, 1024)}, {}, "1024 bits"),
    ],
)
def test_what_cannot_work_is_said_at_the_start(tmp_path, made, changed, says):
    with pytest.raises(AuthorityError, match=says):
        plugged_in(Plugged(tmp_path, **made).write(**changed), NOW)


def test_any_change_of_the_files_is_seen(tmp_path):
    files = Plugged(tmp_path)
    seen = {fingerprint(tmp_path), fingerprint(files.write())}
    assert len(seen) == 2
    for name in ("ca-cert.pem", "ca-key.pem", "root-cert.pem", "cert-chain.pem"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + b"\n")
        seen.add(fingerprint(tmp_path))
    (tmp_path / "cert-chain.pem").unlink()
    assert len(seen | {fingerprint(tmp_path)}) == 7
