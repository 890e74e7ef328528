"""Names of services: what a rule's author writes, what a caller may call, and the one name the registry uses.

Kubernetes lets a caller write `reviews`, `reviews.default`, `reviews.default.svc` or the whole name; rules may use the
short form too, completed with the namespace of the *rule*. Everything inside compares only fully qualified names.
`domain` is the cluster's DNS domain ("cluster.local"), without "svc.".
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import PurePosixPath
from socket import AF_INET, AF_INET6, inet_aton, inet_pton
from typing import Final

from controlplane.ir.service import Resolution, Service


def service_host(name: str, namespace: str, domain: str) -> str:
    """The registry's name of a Kubernetes Service."""
    return f"{name}.{namespace}.svc.{domain}"


def is_ip(text: str) -> bool:
    """Whether this is an IP address as Envoy reads one: `inet_pton` on both sides, no short forms."""
    try:
        inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):  # ValueError: a NUL inside
        return False
    return True


def in_authority(host: str) -> str:
    """A name or address as it stands in `Host`."""
    return f"[{host}]" if ":" in host else host


def is_local(address: str) -> bool:
    """Whether an address means the caller's own machine: loopback, unspecified, link-local, a Unix socket.

    In any spelling that a resolver takes: `127.1`, `0x7f000001` and `0` are addresses to them, and an IPv6 address may
    carry an IPv4 address that a gateway of the network takes out again. A name that the DNS answers with such an
    address cannot be seen here.
    """
    name = address.lower().strip("[]").partition("%")[0].removesuffix(".")
    if name in _LOCAL_NAMES or name.endswith((".localhost", ".localdomain")) or name.startswith("unix:"):
        return True
    found = _read_address(name)
    return found is not None and any(_is_here(one) for one in (found, *_carried(found)))


def is_local_ip(address: str) -> bool:
    """The same of what `is_ip` holds for, at the cost of a comparison for nearly all of them."""
    return is_local(address) if ":" in address else address.startswith(_LOCAL_IPV4)


def is_ours(socket: str) -> bool:
    """Whether "unix:///path" is a socket by which a proxy or a control plane is told what to do: nobody's endpoint."""
    return PurePosixPath(socket.removeprefix(UNIX)).name in _OURS


UNIX: Final = "unix://"
_OURS: Final = frozenset({"admin.sock", "debug.sock", "xds.sock"})
_LOCAL_IPV4: Final = ("127.", "169.254.", "0.")
_LOCAL_NAMES: Final = frozenset(
    {"localhost", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback", "localdomain"}
)
_TRANSLATED: Final = (ip_network("64:ff9b::/96"), ip_network("::ffff:0:0:0/96"), ip_network("::/96"))  # + IPv4


def _read_address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        pass
    try:  # as the C library reads one: octal, hexadecimal, fewer than four parts
        return IPv4Address(inet_aton(text)) if text[:1].isdigit() and not text.isspace() else None
    except (OSError, ValueError):
        return None


def _carried(address: IPv4Address | IPv6Address) -> Iterator[IPv4Address]:
    """IPv4 addresses inside an IPv6 address: mapped, translated, tunnelled."""
    if isinstance(address, IPv4Address):
        return
    yield from (one for one in (address.ipv4_mapped, address.sixtofour) if one is not None)
    yield from address.teredo or ()
    if any(address in network for network in _TRANSLATED):
        yield IPv4Address(int(address) & 0xFFFF_FFFF)


def _is_here(address: IPv4Address | IPv6Address) -> bool:
    return address.is_loopback or address.is_link_local or address.is_unspecified or address in _THIS_NETWORK


_THIS_NETWORK: Final = ip_network("0.0.0.0/8")  # Linux takes all of it for itself


def qualify(host: str, namespace: str, domain: str) -> str:
    """The fully qualified name a rule of `namespace` means.

    A single label is a Service beside the rule. A name with a dot is taken as it is, as Istio does, because
    `reviews.default` cannot be told from `example.com`; only the suffix `.svc`, which no public name has, is completed.
    Wildcards and IP addresses stay.
    """
    host = host.lower().removesuffix(".")
    if "." not in host:
        return host if not host or host == "*" or ":" in host else f"{host}.{namespace}.svc.{domain}"
    if host.endswith(".svc") and host.count(".") > 1:
        return f"{host}.{domain}"
    return host


def readings(host: str, namespace: str, domain: str) -> tuple[str, ...]:
    """What a rule's host may mean, most literal first; the registry decides which of them exists.

    Only `name.namespace` has two readings.
    """
    qualified = qualify(host, namespace, domain)
    if qualified.count(".") != 1 or qualified.startswith("*"):
        return (qualified,)
    return qualified, f"{qualified}.svc.{domain}"


def wildcard_above(host: str) -> str:
    """The next wildcard up: "a.b.c" -> "*.b.c", "*.b.c" -> "*.c", "*.c" -> "*", "*" -> ""."""
    if host == "*":
        return ""
    _, dot, rest = host.removeprefix("*.").partition(".")
    return f"*.{rest}" if dot else "*"


def wildcards_above(host: str) -> tuple[str, ...]:
    """The wildcards that cover a host, most specific first: "*.default.svc.cluster.local" … "*"."""
    found: list[str] = []
    while host := wildcard_above(host):
        found.append(host)
    return tuple(found)


def covers(pattern: str, host: str) -> bool:
    """Whether a host or wildcard `pattern` stands for `host`, which may be a narrower wildcard itself."""
    if pattern in {"*", host}:
        return True
    return pattern.startswith("*.") and host.endswith(pattern[1:])


def domains(service: Service, port: int, caller_namespace: str | None, domain: str) -> tuple[str, ...]:
    """What callers write in `Host` for a service: every form of its name and its addresses, with and without the port.

    The bare name is only for callers of the same namespace (`None`: a caller without one). A headless Service also
    answers for the names of its Pods (`web-0.web…`). Sorted.
    """
    names = _forms(service, caller_namespace, domain)
    if service.headless and service.resolution is Resolution.PASSTHROUGH:
        names += [f"*.{name}" for name in names]
    for address in service.addresses:
        if "/" not in address:
            names.append(in_authority(address))
    suffix = f":{port}"
    names += [name + suffix for name in names]
    names.sort()
    return tuple(names)


def _forms(service: Service, caller_namespace: str | None, domain: str) -> list[str]:
    host = service.host
    if service.kubernetes:
        name, namespace = service.name, service.namespace
    else:  # a ServiceEntry may take a name of the cluster's domain
        short = host.removesuffix(f".svc.{domain}")
        name, _, namespace = short.partition(".")
        if short == host or not namespace or "." in namespace or name == "*":
            return [host]
    forms = [host, f"{name}.{namespace}", f"{name}.{namespace}.svc"]
    if caller_namespace == namespace:
        forms.append(name)
    return forms
