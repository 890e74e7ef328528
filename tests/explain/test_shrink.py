"""The shrinker, with a stand-in for the disagreement."""

from controlplane.explain import Address, Call, Speaks
from tests.explain.build import http, listener, resources, table, to
from tests.explain.shrink import pruned, shrink, to_json


def test_only_what_is_needed_is_left():
    whole = resources(
        listener("80", "10.0.0.1", 80, http(table(to("up"), to("nowhere", path="/x"), to("up", prefix="/y")))),
        listener("81", "10.0.0.1", 81, http(table(to("up")))),
    )
    call = Call(address=Address("10.0.0.1", 80), speaks=Speaks.HTTP2, headers=(("a", "1"), ("b", "2")))

    def differs(candidate, asked):
        text = str(to_json(candidate, asked))
        return {"status"} if "nowhere" in text and ("b", "2") in asked.headers else {"other"}

    small, asked = shrink(whole, call, differs)
    assert list(small.listeners) == ["80"]
    assert "/y" not in str(to_json(small, asked))
    assert (asked.headers, asked.speaks) == ((("b", "2"),), Speaks.HTTP11)


def test_what_agrees_stays_as_it_is():
    whole = resources(listener("80", "10.0.0.1", 80, http(table(to("up")))))
    call = Call(address=Address("10.0.0.1", 80))
    assert shrink(whole, call, lambda *_: set()) == (whole, call)


def test_every_smaller_message_is_smaller():
    whole = resources(listener("80", "10.0.0.1", 80, http(table(to("up"), to("up"))))).listeners["80"]
    sizes = [len(one.SerializeToString()) for one in pruned(whole)]
    assert len(sizes) > 10
    assert max(sizes) < len(whole.SerializeToString())
