"""Capture without a kernel: which rules are wanted, what is restored where others are there, and what is no flag."""

import pytest

from controlplane.agent.capture.addresses import IPv6, ipv6
from controlplane.agent.capture.backend import ours, removing, setting
from controlplane.agent.capture.rules import Family
from controlplane.agent.entrance import main

LOOPBACK = "00000000000000000000000000000001 01 80 10 80       lo\n"
LINK = "fe800000000000000042acfffe110002 0a 40 20 80     eth0\n"
GLOBAL = "20010db8000000000000000000000001 0a 40 00 80     eth0\n"

THERE = (
    ":PREROUTING ACCEPT [0:0]",
    ":KUBE-SERVICES - [0:0]",
    ":ISTIO_OUTPUT - [0:0]",
    ":ISTIO_OUTPUT_DNS - [0:0]",
    "-A OUTPUT -j KUBE-SERVICES",
    "-A OUTPUT -p udp -j ISTIO_OUTPUT_DNS",
    "-A OUTPUT -p tcp -j ISTIO_OUTPUT",
    "-A ISTIO_OUTPUT -j ISTIO_REDIRECT",
)


def printed(capsys, *flags):
    assert main(["capture", "--print", *flags]) == 0
    return capsys.readouterr().out


def test_all_of_it(capsys):
    lines = printed(capsys, "--exclude-inbound-ports", "15020, 15021,").splitlines()
    assert lines[:19] == [
        "# IPv4",
        "-A PREROUTING -p tcp -j ISTIO_INBOUND",
        "-A OUTPUT -p tcp -j ISTIO_OUTPUT",
        "-A ISTIO_INBOUND -p tcp -m tcp --dport 15020 -j RETURN",
        "-A ISTIO_INBOUND -p tcp -m tcp --dport 15021 -j RETURN",
        "-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT",
        "-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006",
        "-A ISTIO_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN",
        "-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT",
        "-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN",
        "-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN",
        "-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT",
        "-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN",
        "-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN",
        "-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN",
        "-A ISTIO_OUTPUT -j ISTIO_REDIRECT",
        "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001",
        "# IPv6",
        "-A PREROUTING -p tcp -j ISTIO_INBOUND",
    ]
    assert "-A ISTIO_OUTPUT -s ::6/128 -o lo -j RETURN" in lines[19:]


def test_a_block_is_for_its_family_alone(capsys):
    four, six = printed(capsys, "--include-ranges", "10.0.0.0/8,2001:db8::/32,0.0.0.0/0").split("# IPv6")
    assert "-A ISTIO_OUTPUT -d 10.0.0.0/8 -j ISTIO_REDIRECT" in four
    assert "-A ISTIO_OUTPUT -j ISTIO_REDIRECT" in four  # as the kernel prints 0.0.0.0/0
    assert "2001" not in four
    assert "-A ISTIO_OUTPUT -d 2001:db8::/32 -j ISTIO_REDIRECT" in six
    assert "-A ISTIO_OUTPUT -j ISTIO_REDIRECT" not in six


def test_loopback_can_be_asked_for(capsys):
    assert "! --uid-owner" not in printed(capsys, "--include-ranges", "127.0.0.0/8")


@pytest.mark.parametrize(
    "flags",
    [
        ("--outbound-port", "0"), ("--inbound-port", "65536"), ("--proxy-uid", "0"), ("--proxy-gid", "root"),
        ("--include-ranges", "10.0.0.0/33"), ("--exclude-ranges", "*"), ("--exclude-inbound-ports", "80:90"),
        ("--exclude-interfaces", "eth0 -j ACCEPT"), ("--virtual-interfaces", "sixteen-letters-"),
        ("--exclude-interfaces=-j",), ("--what",), ("--backend", "ebtables"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_is_no_rule_is_one_line(flags, capsys):
    code: object = None
    try:
        code = main(["capture", "--print", *flags])
    except SystemExit as ended:
        code = ended.code
    told = capsys.readouterr()
    assert code == 2
    assert told.out == ""
    assert told.err.startswith("lateen: agent capture: ")
    assert told.err.count("\n") == 1


def test_what_is_there_already_gives_way():
    assert ours(THERE) == THERE[5:]
    restored = setting(THERE, ["-A OUTPUT -p tcp -j ISTIO_OUTPUT"])
    assert restored == [
        ":ISTIO_OUTPUT - [0:0]", ":ISTIO_OUTPUT_DNS - [0:0]", ":ISTIO_INBOUND - [0:0]", ":ISTIO_IN_REDIRECT - [0:0]",
        ":ISTIO_REDIRECT - [0:0]", "-D OUTPUT -p udp -j ISTIO_OUTPUT_DNS", "-D OUTPUT -p tcp -j ISTIO_OUTPUT",
        "-X ISTIO_OUTPUT_DNS", "-A OUTPUT -p tcp -j ISTIO_OUTPUT",
    ]  # fmt: skip
    assert not any("KUBE" in line for line in (*restored, *removing(THERE)))
    assert removing(THERE)[-2:] == ["-X ISTIO_OUTPUT", "-X ISTIO_OUTPUT_DNS"]
    assert removing(THERE[:2]) == []


def test_whether_there_is_ipv6():
    assert ipv6("") is IPv6.NONE
    assert ipv6(LOOPBACK) is IPv6.NONE
    assert ipv6(LOOPBACK + LINK) is IPv6.LINK
    assert ipv6(LINK + GLOBAL + LOOPBACK) is IPv6.GLOBAL
    assert list(Family) == [4, 6]
