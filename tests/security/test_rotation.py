"""A root changes in three steps, and none is taken while it would cut somebody off."""

from itertools import pairwise

import pytest
from cryptography import x509

from controlplane.security.issuing import Issued, issue
from controlplane.security.refusal import Refusal, Why
from controlplane.security.rotation import Roots, Step, abandon, begin, finish, switch
from tests.security.requests import CALLER, NOW, csr, root

OLD, NEW = root(1), root(2)


def signer_of(roots: Roots) -> x509.Certificate:
    found = issue(csr(), CALLER, roots.issuer, now=NOW, serial=3)
    assert isinstance(found, Issued)
    leaf = x509.load_pem_x509_certificates(found.chain)[0]
    (signer,) = [one for one in (OLD.certificate, NEW.certificate) if _issued(leaf, one)]
    return signer


def _issued(leaf: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(by)
    except Exception:  # noqa: BLE001  of several kinds, all meaning no
        return False
    return True


def test_at_every_step_everybody_trusts_who_issues_and_who_issued():
    steady = Roots(OLD)
    trusting = begin(steady, NEW)
    assert isinstance(trusting, Roots)
    issuing = switch(trusting, lacking=())
    assert isinstance(issuing, Roots)
    done = finish(issuing, holding=())
    assert isinstance(done, Roots)
    steps = [steady, trusting, issuing, done]
    assert [one.step for one in steps] == [Step.STEADY, Step.TRUSTING, Step.ISSUING, Step.STEADY]
    assert [signer_of(one) for one in steps] == [OLD.certificate, OLD.certificate, NEW.certificate, NEW.certificate]
    for before, after in pairwise(steps):
        assert signer_of(before) in after.trusted or after is done, "certificates of the step before are still trusted"
        assert signer_of(after) in before.trusted, "who has the bundle of the step before trusts who issues now"
    assert done.trusted == (NEW.certificate,)


@pytest.mark.parametrize("count", [1, 5])
def test_a_step_waits_for_those_it_would_cut_off(count):
    proxies = [f"web-{number}.shop" for number in range(count)]
    trusting = begin(Roots(OLD), NEW)
    assert isinstance(trusting, Roots)
    refused = switch(trusting, lacking=proxies)
    assert isinstance(refused, Refusal)
    assert "web-0.shop" in refused.message
    issuing = switch(trusting, lacking=())
    assert isinstance(issuing, Roots)
    refused = finish(issuing, holding=proxies)
    assert isinstance(refused, Refusal)
    assert refused.why is Why.STEP
    assert str(count) in refused.message


def test_steps_come_in_order():
    trusting = begin(Roots(OLD), NEW)
    assert isinstance(trusting, Roots)
    issuing = switch(trusting, lacking=())
    assert isinstance(issuing, Roots)
    wrong = [
        switch(Roots(OLD), ()), finish(Roots(OLD), ()), abandon(Roots(OLD)), begin(Roots(OLD), OLD),
        begin(trusting, root(3)), finish(trusting, ()),
        begin(issuing, root(3)), switch(issuing, ()), abandon(issuing),
    ]  # fmt: skip
    assert all(isinstance(one, Refusal) for one in wrong)
    assert abandon(trusting) == Roots(OLD)
