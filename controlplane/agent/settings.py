"""What the agent was told: read once, in one place, into one frozen value."""

import sys
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import msgspec

from controlplane.agent import node as nodes
from controlplane.agent.authority import Node
from controlplane.agent.drain import DrainOptions
from controlplane.agent.envoy import EnvoyOptions
from controlplane.agent.http.client import Address
from controlplane.agent.probers import Prober, parse_probers
from controlplane.agent.words import Words, parse_duration
from controlplane.base.identity import Identity

SIDECAR: Final = "sidecar"

_CONCURRENCY: Final = 2  # as Istio's proxies
_INTERCEPTED: Final = ("REDIRECT", "TPROXY")
_PAST_INTERCEPTION: Final = {False: "127.0.0.6", True: "::6"}  # by whether it is IPv6; as Istio's rules have it


class Scrape(msgspec.Struct, frozen=True):
    """Where the application has metrics: the Pod's prometheus.io annotations, which are all text."""

    scrape: str = "true"
    path: str = "/metrics"
    port: str = "80"


class StatusOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The ports that others may ask."""

    address: str | None  # None: everywhere
    readiness_port: int
    port: int
    application: str  # its address
    probers: Mapping[str, Prober]
    probe_from: str  # the address to come from; "": any
    scrape: Scrape | None

    @property
    def scraped_at(self) -> Address:
        """Where its metrics are: inside the Pod, unless it has a loopback address of its own (one machine's mesh)."""
        assert self.scrape is not None
        address = ip_address(self.application)
        inside = "127.0.0.1" if address.version == 4 else "::1"
        return Address(self.application if address.is_loopback else inside, int(self.scrape.port))


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything."""

    role: str
    directory: Path
    control_plane: Address
    server_name: str
    bundle: Path
    token: Path | None
    certificate_seconds: int | None
    expected_name: str  # what its certificates should be made out to; "": not known here
    node: Node
    status: StatusOptions
    envoy: EnvoyOptions
    drain: DrainOptions

    @property
    def is_sidecar(self) -> bool:
        return self.role == SIDECAR


class _ProxyConfig(msgspec.Struct, rename="camel"):
    """Of Istio's ProxyConfig, what is about the agent."""

    termination_drain_duration: str = "5s"
    drain_duration: str = "45s"
    status_port: int = 15020
    concurrency: int | None = None


def read_settings(role: str, words: Words) -> Settings:
    """Raises Misuse."""
    raw_config = words.json("proxy-config", dict[str, Any])
    config = words.parsed("proxy-config", lambda _: msgspec.convert(raw_config, _ProxyConfig))
    node = _node(role, words, raw_config)
    directory, bundle = words.path("directory"), words.path("roots")
    lifetime = words.seconds("certificate-lifetime")
    return Settings(
        role=role,
        directory=directory or words.wrong("directory", "is not said"),
        control_plane=words.address("control-plane"),
        server_name=words.needed("server-name"),
        bundle=bundle or words.wrong("roots", "is not said"),
        token=words.path("token-file"),
        certificate_seconds=None if lifetime is None else round(lifetime),
        expected_name=_name(words),
        node=node,
        status=_status(role, words, config, node.metadata),
        envoy=_envoy(words, config),
        drain=_drain(words, config),
    )


def _name(words: Words) -> str:
    domain, account = words.text("trust-domain"), words.text("service-account")
    return Identity(domain, words.needed("namespace"), account).uri if domain and account else ""


def _node(role: str, words: Words, proxy_config: Mapping[str, Any]) -> Node:
    metadata = words.environment(nodes.of_environment)
    metadata |= {"NAME": words.needed("pod-name"), "NAMESPACE": words.needed("namespace")}
    metadata["INSTANCE_IPS"] = words.ip("address")
    if labels := nodes.parse_labels(words.content("labels-file") or ""):
        metadata["LABELS"] = labels
    if words.text("service-account"):
        metadata["SERVICE_ACCOUNT"] = words.text("service-account")
    if proxy_config:
        metadata["PROXY_CONFIG"] = proxy_config
    if words.text("metadata-file"):
        metadata |= _metadata_file(words)
    return nodes.node(
        role,
        metadata,
        domain=words.text("domain"),
        cluster=words.text("cluster"),
        locality=words.text("locality"),
    )


def _metadata_file(words: Words) -> dict[str, Any]:
    content = words.content("metadata-file")
    if content is None:
        words.wrong("metadata-file", f"{words.text('metadata-file')} cannot be read")
    return words.parsed("metadata-file", lambda text: msgspec.json.decode(text.encode(), type=dict[str, Any]), content)


def _status(role: str, words: Words, config: _ProxyConfig, metadata: Mapping[str, Any]) -> StatusOptions:
    port, application = words.number("status-port", config.status_port), words.ip("address")
    intercepted = role == SIDECAR and metadata.get("INTERCEPTION_MODE") in _INTERCEPTED
    return StatusOptions(
        address=words.ip("status-address") if words.text("status-address") else None,
        readiness_port=words.number("readiness-port"),
        port=port,
        application=application,
        probers=words.parsed("probes", parse_probers),
        # Where traffic is captured, a probe from anywhere else would come back to us through Envoy.
        probe_from=_PAST_INTERCEPTION[":" in application] if intercepted and sys.platform == "linux" else "",
        scrape=_scrape(words, port) if role == SIDECAR else None,
    )


def _scrape(words: Words, status_port: int) -> Scrape | None:
    """Not for gateways: their Services have the status port, and there is no application behind them."""
    if not words.text("scrape"):
        return None
    scrape = words.json("scrape", Scrape)
    if scrape.scrape == "false":
        return None
    if not (scrape.port.isascii() and scrape.port.isdigit() and len(scrape.port) < 6):
        words.wrong("scrape", f"port {scrape.port!r} is no number")
    if int(scrape.port) == status_port:
        words.wrong("scrape", f"port {status_port} is the agent's own: it would ask itself for ever")
    if not scrape.path.isascii() or not scrape.path.isprintable() or " " in scrape.path:
        words.wrong("scrape", f"path {scrape.path!r} is none")
    return scrape


def _envoy(words: Words, config: _ProxyConfig) -> EnvoyOptions:
    default = _CONCURRENCY if config.concurrency is None else config.concurrency
    binary = words.needed("envoy")
    return EnvoyOptions(
        binary=str(Path(binary).absolute()) if "/" in binary else binary,
        concurrency=words.number("concurrency", default, most=1024),
        drain_seconds=max(1, round(words.parsed("proxy-config", parse_duration, config.drain_duration))),
        log_level=words.needed("log-level"),
        component_log_level=words.text("component-log-level"),
    )


def _drain(words: Words, config: _ProxyConfig) -> DrainOptions:
    return DrainOptions(
        time=words.seconds("drain-time", config.termination_drain_duration) or 0.0,
        until_idle=words.truth("drain-until-idle"),
        least=words.seconds("least-drain") or 0.0,
        most=words.seconds("longest-drain"),
    )
