"""Which socket, and who gets what was captured: what loopback alone cannot show of a real Envoy."""

from controlplane.explain import Address, Call, Speaks, Verdict, simulate
from tests.explain.build import at, listener, listener_filter, resources, tcp

OUT = Address("0.0.0.0", 15001)
HANDS_OVER = {"use_original_dst": True, "listener_filters": [listener_filter("original_dst", "OriginalDst")]}
UNBOUND = {"bind_to_port": False}


def dial(world, ip, port, **fields):
    return simulate(world, Call(address=Address(ip, port), speaks=Speaks.BYTES, **fields))


def test_an_exact_address_stands_above_a_wildcard():
    world = resources(listener("any", "0.0.0.0", 80, tcp("up")), listener("one", "10.0.0.1", 80, tcp("up")))
    assert dial(world, "10.0.0.1", 80).listener == "one"
    assert dial(world, "10.0.0.2", 80).listener == "any"
    assert dial(world, "10.0.0.1", 81).verdict is Verdict.REFUSED


def test_wildcards_are_of_a_family():
    world = resources(listener("six", "::", 80, tcp("up")))
    assert dial(world, "10.0.0.1", 80).verdict is Verdict.REFUSED
    assert dial(world, "fd00::1", 80).listener == "six"


def test_an_ipv6_wildcard_may_take_ipv4_too():
    six = listener("six", "::", 80, tcp("up"))
    six["address"]["socket_address"]["ipv4_compat"] = True
    assert dial(resources(six), "10.0.0.1", 80).listener == "six"
    assert dial(resources(six, listener("four", "0.0.0.0", 80, tcp("up"))), "10.0.0.1", 80).listener == "four"


def test_a_listener_may_have_several_addresses():
    world = resources(listener("many", "10.0.0.1", 80, tcp("up"), additional_addresses=[at("10.0.0.2", 81)]))
    assert dial(world, "10.0.0.2", 81).listener == "many"


def test_udp_is_another_world():
    udp = listener("dns", "10.0.0.1", 53, tcp("up"))
    udp["address"]["socket_address"]["protocol"] = "UDP"
    assert dial(resources(udp), "10.0.0.1", 53).verdict is Verdict.REFUSED


def test_a_listener_without_a_socket_cannot_be_dialled():
    world = resources(listener("80", "0.0.0.0", 80, tcp("up"), **UNBOUND))
    assert dial(world, "10.0.0.1", 80).verdict is Verdict.REFUSED


def test_captured_connections_go_where_they_were_meant_to():
    world = resources(
        listener("out", "0.0.0.0", 15001, tcp("blackhole"), **HANDS_OVER),
        listener("any", "0.0.0.0", 80, tcp("up"), **UNBOUND),
        listener("one", "10.0.0.1", 80, tcp("up"), **UNBOUND),
    )
    assert dial(world, "10.0.0.1", 80, captured_at=OUT).listener == "one"
    assert dial(world, "10.0.0.2", 80, captured_at=OUT).listener == "any"
    assert dial(world, "10.0.0.2", 81, captured_at=OUT).listener == "out"


def test_a_connection_is_handed_over_once():
    world = resources(
        listener("out", "0.0.0.0", 15001, tcp("up"), **HANDS_OVER),
        listener("loop", "10.0.0.1", 80, tcp("up"), **UNBOUND, **HANDS_OVER),
    )
    said = dial(world, "10.0.0.1", 80, captured_at=OUT)
    assert (said.listener, said.verdict) == ("loop", Verdict.FORWARDED)


def test_without_hand_over_the_destination_still_chooses_the_chain():
    inbound = listener(
        "in",
        "0.0.0.0",
        15006,
        tcp("up", destination_port=8080),
        tcp("other"),
        listener_filters=[listener_filter("original_dst", "OriginalDst")],
    )
    world = resources(inbound, up=("up", "other"))
    entered = Address("0.0.0.0", 15006)
    assert dial(world, "10.0.0.1", 8080, captured_at=entered).cluster == "up"
    assert dial(world, "10.0.0.1", 9090, captured_at=entered).cluster == "other"


def test_the_original_destination_is_an_endpoint():
    passthrough = {"name": "pass", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}
    world = resources(listener("out", "0.0.0.0", 15001, tcp("pass"), **HANDS_OVER), clusters=[passthrough])
    said = dial(world, "10.9.9.9", 99, captured_at=OUT)
    assert [one.address for one in said.destinations[0].endpoints] == ["10.9.9.9:99"]
    lost = dial(world, "0.0.0.0", 15001)
    assert lost.failure is not None
    assert lost.failure.flag == "UH"
