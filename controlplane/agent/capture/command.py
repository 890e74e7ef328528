"""`lateen agent capture`: flags in, rules out, and an exit code. Runs once in every Pod, before everything else."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from controlplane.agent.capture import options
from controlplane.agent.capture.addresses import IPv6, add_source, ipv6
from controlplane.agent.capture.backend import KINDS, Failed
from controlplane.agent.capture.options import Capture
from controlplane.agent.capture.rules import Family, rules
from controlplane.agent.capture.setting import capture, clean_up
from controlplane.agent.logs import Log
from controlplane.agent.misuse import Misuse
from controlplane.runtime.clock import SystemClock

WELL: Final = 0
NOT_DONE: Final = 1
MISUSED: Final = 2
BUG: Final = 70

_DESCRIPTION: Final = """\
Lead the traffic of this network namespace through its proxy (iptables, both kinds, IPv4 and IPv6). All rules are set at
once, read back and compared; where they are there already nothing is done. Needs NET_ADMIN and NET_RAW. In a Pod this
is the init container istio-init; lists are separated by commas."""
_EPILOG: Final = """\
examples:
  lateen agent capture --exclude-inbound-ports 15020,15021,15090
  lateen agent capture --print --include-ranges 10.96.0.0/12
  lateen agent capture --clean-up"""


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    said = _parser().parse_args(arguments)
    log = Log(SystemClock())
    try:
        wanted = _wanted(said)
        if said.print:
            _print(wanted)
        elif said.clean_up:
            clean_up(said.backend, log)
        else:
            _capture(wanted, said, log)
    except Misuse as error:
        return _refuse(str(error), MISUSED)
    except Failed as error:
        return _refuse(str(error), NOT_DONE)
    except Exception:  # noqa: BLE001  (the boundary: a bug of ours ends the process, with everything about it)
        sys.excepthook(*sys.exc_info())
        return BUG
    return WELL


def _wanted(said: Any) -> Capture:
    return Capture(
        outbound_port=options.port("--outbound-port", said.outbound_port),
        inbound_port=options.port("--inbound-port", said.inbound_port),
        uid=options.owner("--proxy-uid", said.proxy_uid),
        gid=options.owner("--proxy-gid", said.proxy_gid),
        include_ranges=options.ranges_or_all("--include-ranges", said.include_ranges),
        exclude_ranges=options.ranges("--exclude-ranges", said.exclude_ranges),
        include_inbound=options.ports_or_all("--include-inbound-ports", said.include_inbound_ports),
        exclude_inbound=options.ports("--exclude-inbound-ports", said.exclude_inbound_ports),
        include_outbound=options.ports("--include-outbound-ports", said.include_outbound_ports),
        exclude_outbound=options.ports("--exclude-outbound-ports", said.exclude_outbound_ports),
        exclude_interfaces=options.interfaces("--exclude-interfaces", said.exclude_interfaces),
        virtual_interfaces=options.interfaces("--virtual-interfaces", said.virtual_interfaces),
    )


def _print(wanted: Capture) -> None:
    for family in Family:
        sys.stdout.write(f"# IPv{int(family)}\n" + "".join(f"{line}\n" for line in rules(wanted, family)))


def _capture(wanted: Capture, said: Any, log: Log) -> None:
    """IPv6 first: until all of it is done, nothing in this Pod runs that could be called."""
    found = ipv6()
    if said.ipv6 == "true" or (said.ipv6 == "auto" and found is not IPv6.NONE):
        must = said.ipv6 == "true" or found is IPv6.GLOBAL
        _capture_ipv6(wanted, said.backend, log, must=must)
    capture(wanted, Family.IPV4, said.backend, log)


def _capture_ipv6(wanted: Capture, kind: str, log: Log, *, must: bool) -> None:
    """`must`: others than neighbours can reach us, and would pass by the proxy and its rules."""
    try:
        add_source()
        capture(wanted, Family.IPV6, kind, log)
    except (Failed, OSError) as error:
        if must:
            raise Failed(f"IPv6 is not captured: {error}") from error
        log.warning("IPv6 is not captured; only neighbours on the link could use it", error=str(error))


def _refuse(message: str, code: int) -> int:
    sys.stderr.write(f"lateen: agent capture: {' '.join(message.split())}\n")
    return code


class _Parser(argparse.ArgumentParser):
    """What is wrong is one line, as with every command of ours."""

    def error(self, message: str) -> NoReturn:
        sys.exit(_refuse(f"{message} (lateen agent capture --help)", MISUSED))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="lateen agent capture",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for name, default, what in _FLAGS:
        parser.add_argument(f"--{name}", metavar="LIST" if name[-1] == "s" else "N", default=default, help=what)
    parser.add_argument(
        "--ipv6", choices=("auto", "true", "false"), default="auto", help="auto: where there are addresses [auto]"
    )
    parser.add_argument("--backend", choices=KINDS, default="", help="which iptables (default: the one that works)")
    parser.add_argument("--clean-up", action="store_true", help="remove the rules, in both kinds of iptables")
    parser.add_argument("--print", action="store_true", help="show the rules, and do nothing")
    return parser


_FLAGS: Final = (
    ("outbound-port", "15001", "where the proxy takes what the application dials [15001]"),
    ("inbound-port", "15006", "where it takes what comes to the application [15006]"),
    ("proxy-uid", "1337", "the proxy's user: its own traffic passes [1337]"),
    ("proxy-gid", "1337", "the proxy's group: likewise [1337]"),
    ("include-ranges", "*", "networks whose addresses are captured when dialled; * for all [*]"),
    ("exclude-ranges", "", "networks that are not"),
    ("include-inbound-ports", "*", "ports of the application that are captured; * for all [*]"),
    ("exclude-inbound-ports", "", "ports that are not"),
    ("include-outbound-ports", "", "ports that are captured when dialled, wherever"),
    ("exclude-outbound-ports", "", "ports that are not"),
    ("exclude-interfaces", "", "network interfaces where nothing is captured"),
    ("virtual-interfaces", "", "interfaces of virtual machines in the Pod: what comes in there is what they dial"),
)
