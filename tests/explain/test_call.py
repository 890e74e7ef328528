"""Calls as people write them."""

import pytest

from controlplane.explain import Address, Call, Speaks, Tls, http
from controlplane.explain.call import split_port

TO = Address("10.0.0.5", 9080)


@pytest.mark.parametrize(
    ("authority", "host", "port"),
    [
        ("a", "a", ""),
        ("a:80", "a", "80"),
        ("[::1]", "[::1]", ""),
        ("[::1]:80", "[::1]", "80"),
        ("a:", "a:", ""),
        ("a:x", "a:x", ""),
        ("", "", ""),
        ("a:²", "a:²", ""),
    ],
)
def test_an_authority_is_cut_at_its_port(authority, host, port):
    assert split_port(authority) == (host, port)


def test_a_url_is_a_call():
    made = http("http://reviews:9080/ratings?x=1", headers=[("x-user", "jason")], address=TO)
    assert made == Call(address=TO, authority="reviews:9080", path="/ratings?x=1", headers=(("x-user", "jason"),))


def test_the_usual_port_is_not_in_the_authority():
    assert http("http://reviews:80", address=TO).authority == "reviews"
    assert http("https://reviews:443", address=TO).authority == "reviews"
    assert http("https://reviews:80", address=TO).authority == "reviews:80"


def test_https_is_tls_with_the_host_as_server_name():
    assert http("https://shop.test:8443/x", address=TO).tls == Tls(sni="shop.test")


def test_fields_of_a_url_can_be_overruled():
    made = http("https://shop.test/", address=TO, tls=Tls(sni="other", alpn=("h2",)), speaks=Speaks.HTTP2)
    assert made.tls is not None
    assert (made.tls.sni, made.speaks) == ("other", Speaks.HTTP2)


def test_addresses_are_written_as_in_urls():
    assert (str(TO), str(Address("::1", 80))) == ("10.0.0.5:9080", "[::1]:80")
