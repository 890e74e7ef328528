"""Parts of several replicas, added up; a part that is missing is never taken for nothing."""

import pytest

from controlplane.model.problem import ObjectRef
from controlplane.status.reports import Progress, Report, Reports, Union, decode, encode

RULE = ObjectRef("networking.istio.io", "VirtualService", "shop", "bill")
OTHER = ObjectRef("networking.istio.io", "VirtualService", "shop", "other")
ONE = Report("one", 1, {RULE: Progress(3, 1, ("a.shop",))})
TWO = Report("two", 1, {RULE: Progress(4, 0), OTHER: Progress(1, 0)})


def test_reports_add_up() -> None:
    reports = Reports()
    reports.heard(ONE, 0.0)
    reports.heard(TWO, 0.0)
    assert reports.of(RULE, {"one", "two"}, 1.0) == Union(Progress(7, 1, ("a.shop",)))
    assert reports.of(OTHER, {"one", "two"}, 1.0) == Union(Progress(1, 0))
    assert reports.of(RULE, {"two"}, 1.0) == Union(Progress(4, 0)), "a replica that is gone has no proxies"


def test_who_has_not_reported_lately_is_missing() -> None:
    reports = Reports(patience=10.0)
    reports.heard(ONE, 0.0)
    assert reports.of(RULE, {"one", "two"}, 1.0).missing == ("two",)
    assert reports.of(RULE, {"one"}, 10.0).missing == ()
    assert reports.of(RULE, {"one"}, 10.1) == Union(Progress(), ("one",))
    reports.forget(())
    assert reports.missing({"one"}, 0.0) == ("one",)


def test_a_report_that_was_overtaken_is_left() -> None:
    reports = Reports()
    reports.heard(Report("one", 2, {RULE: Progress(5, 0)}), 0.0)
    reports.heard(ONE, 9.0)
    assert reports.of(RULE, {"one"}, 9.5).progress == Progress(5, 0)


def test_named_proxies_are_few() -> None:
    one, two = (Progress(9, 9, tuple(f"{where}{number}" for number in range(5))) for where in "ba")
    assert (one + two).behind == ("a0", "a1", "a2", "a3", "a4")


def test_reports_travel() -> None:
    for report in (ONE, TWO, Report("three", 9)):
        assert decode(encode(report)) == report
    for nonsense in (b"", b"\xc1", b"\x93\x01\x02\x03", encode(ONE)[:-1], b"\x91" * 5_000):
        with pytest.raises(ValueError):  # noqa: PT011  (whatever it says)
            decode(nonsense)
