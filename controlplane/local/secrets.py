"""The secrets of one proxy: what it was given, what its Envoy really uses, and where these differ.

Some come over xDS, some lie in files that its agent or somebody else writes, some come with its bootstrap; the control
plane knows the first, Envoy alone knows what it uses. On this machine Envoy is asked. Where it cannot be, what the
agent reported of its identity is shown, and that this is all.

No key is ever read: of files only chains and roots, of Envoy's and our own answers likewise, and what is shown of
those is what certificates say.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
from cryptography import x509

from controlplane.base.clock import Clock
from controlplane.envoy import render
from controlplane.ir import names
from controlplane.local.certificates import Certificate, certificates, of
from controlplane.local.debug import connected_proxy
from controlplane.local.heldsecrets import HeldSecret, HeldSecrets, file_content, held_secrets
from controlplane.local.ports import ProxyStatus
from controlplane.model.problem import ObjectRef, Problem
from controlplane.runtime.unixhttp import Handler
from controlplane.security.authorities import Authorities
from controlplane.security.holders import Report, root_ids, signer_id
from controlplane.snapshot.resource import Resource
from controlplane.snapshot.types import CLUSTER, LISTENER, SECRET

_AGENTS: Final = {
    names.WORKLOAD_SECRET: Path(names.IDENTITY_FOLDER, "cert-chain.pem"),
    names.ROOT_SECRET: Path(names.IDENTITY_FOLDER, "root-cert.pem"),
}
_ELSEWHERE: Final = "its Envoy cannot be asked from here"
_CREDENTIAL_PROBLEMS: Final = frozenset({"InvalidGatewayCredential", "SecretsAreForGateways"})

# How a TLS context names what it asks for, in messages of the control plane and in Envoy's own words.
_NAMING: Final = {
    "tlsCertificateSdsSecretConfigs": False,
    "tls_certificate_sds_secret_configs": False,
    "validationContextSdsSecretConfig": True,
    "validation_context_sds_secret_config": True,
}


class SecretStatus(StrEnum):
    """How a proxy is off with a secret."""

    ACTIVE = "active"  # Envoy uses what it was given
    STALE = "stale"  # Envoy uses something else than it was given
    EXPIRED = "expired"  # Envoy uses it, and nobody takes it any more
    WARMING = "warming"  # Envoy waits for it
    MISSING = "missing"  # it is asked for, and there is none
    REPORTED = "reported"  # its agent says so; Envoy cannot be asked
    GIVEN = "given"  # it stands ready for Envoy, which cannot be asked
    UNKNOWN = "unknown"  # nobody here can tell


class UsedBy(msgspec.Struct, frozen=True):
    """Who asks for it, by name, sorted."""

    listeners: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()


class ProxySecret(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One secret of one proxy."""

    name: str
    type: str  # "certificate", "roots"
    source: str
    status: SecretStatus
    why: str = ""  # what a person should know about it; empty when all is well
    certificates: tuple[Certificate, ...] = ()  # its own first, then its chain; or the roots
    given: tuple[Certificate, ...] = ()  # what it was given, where Envoy uses something else, or nothing yet
    used_by: UsedBy = UsedBy()


class Given(msgspec.Struct, frozen=True):
    """What stands under a name for a proxy to take. `pem`: None if there is nothing, or nobody here can say."""

    source: str
    pem: bytes | None = None
    why: str = ""  # there is nothing


class Informed(Protocol):
    """What is asked of a control plane; see `local.ports.ControlPlane`."""

    def proxies(self) -> tuple[ProxyStatus, ...]: ...

    def resources(self, name: str) -> tuple[Resource, ...] | None: ...

    def problems(self) -> tuple[Problem, ...]: ...


class ProxySecrets:
    """Looks, when asked."""

    def __init__(
        self,
        control: Informed,
        clock: Clock,
        authorities: Authorities | None,
        folder_of: Callable[[str], Path | None] = lambda _: None,
    ) -> None:
        """`folder_of`: what the agent of a proxy keeps, if it runs here; its Envoy's admin socket is in there."""
        self._control = control
        self._clock = clock
        self._authorities = authorities
        self._folder_of = folder_of

    def routes(self) -> Mapping[str, Handler]:
        """What is asked for."""

        async def secrets(query: Mapping[str, str]) -> Any:
            return msgspec.to_builtins(await self.of(query.get("proxy", "")))

        return {"/secrets": secrets}

    async def of(self, name: str) -> tuple[ProxySecret, ...]:
        """Those of a proxy, by name. Raises NotFound, as `proxy_config`."""
        proxy = connected_proxy(self._control.proxies(), name)
        resources = [
            one for one in self._control.resources(proxy.name) or () if one.type_url in (LISTENER, CLUSTER, SECRET)
        ]
        folder = self._folder_of(proxy.name)
        held, silent = await _asked(folder)
        report = self._report(proxy) if held is None else None
        problems = tuple(one for one in self._control.problems() if one.code in _CREDENTIAL_PROBLEMS)
        seen = _Seen(proxy, resources, folder, held, silent, report, problems, self._clock.now())
        return await asyncio.to_thread(seen.secrets)

    def _report(self, proxy: ProxyStatus) -> "Reported | None":
        if self._authorities is None:
            return None
        found = self._authorities.holders.report_of(proxy.id)
        return None if found is None else reported(found, self._authorities)


class Reported(msgspec.Struct, frozen=True):
    """What an agent said that it has, with what its authority knows of it."""

    own: Certificate
    roots: tuple[Certificate, ...]


def reported(report: Report, authorities: Authorities) -> Reported:
    """A report in words: it has digests, which the authority knows by name unless they are of another one."""
    roots = authorities.roots
    signers = {signer_id(one): one.certificate.subject.rfc4514_string() for one in (roots.current, roots.coming) if one}
    known: dict[str, x509.Certificate] = {next(iter(root_ids([root]))): root for root in roots.trusted}
    issuer = signers.get(report.issued_by, f"unknown, its key is SHA-256 {report.issued_by[:16]}")
    return Reported(
        Certificate(issuer=issuer, valid_until=report.not_after),
        tuple(of(known[one]) if one in known else Certificate(sha256=one) for one in sorted(report.roots)),
    )


async def _asked(folder: Path | None) -> tuple[HeldSecrets | None, str]:
    """What an Envoy has, or why nobody knows."""
    if folder is None:
        return None, f"{_ELSEWHERE}: its agent was started elsewhere"
    try:
        return await held_secrets(folder / "admin.sock"), ""
    except OSError as error:
        return None, f"{_ELSEWHERE}: {str(error) or 'it does not answer in time'}"


# status, why, what the proxy has, what it was given instead
_Judged = tuple[SecretStatus, str, tuple[Certificate, ...], tuple[Certificate, ...]]


class _Seen(msgspec.Struct, frozen=True):
    """All there is to see of one proxy at one moment."""

    proxy: ProxyStatus
    resources: list[Resource]
    folder: Path | None
    held: HeldSecrets | None
    silent: str  # why `held` is None
    report: Reported | None
    problems: tuple[Problem, ...]
    now: datetime

    def secrets(self) -> tuple[ProxySecret, ...]:
        config = render.document(self.resources)
        sent = {one["name"]: one for one in config["secrets"]}
        origins = {one.name: one.origins for one in self.resources if one.type_url == SECRET}
        more = self.held.clusters if self.held is not None else ()
        users = used_by(config["listeners"], (*config["clusters"], *more))
        held = self.held or HeldSecrets()
        found = []
        for name in sorted({*users, *sent, *held.active, *held.warming}):
            given = self._given(name, sent.get(name), [origin.ref for origin in origins.get(name, ())])
            is_roots, by = users.get(name, (_is_roots(sent.get(name)), UsedBy()))
            found.append(self._secret(name, given, is_roots=is_roots, by=by))
        return tuple(found)

    def _given(self, name: str, sent: Mapping[str, Any] | None, origins: list[ObjectRef]) -> Given:
        if name in _AGENTS:
            return self._from_agent(_AGENTS[name])
        if name == names.SYSTEM_ROOTS:
            return Given("bootstrap")
        if name.startswith((names.FILE_CERTIFICATE, names.FILE_CA)):
            return Given(f"file {name.partition(':')[2].partition('~')[0]}")
        secrets = [ref for ref in origins if ref.kind == "Secret"]
        if sent is None:
            why = self._problem_with(name) or "the control plane has nothing to send: see lateen problems"
            return Given(f"xDS, Secret {self._namespace}/{name.removeprefix(names.CREDENTIAL)}", why=why)
        return Given(", ".join(("xDS", *(f"Secret {ref.namespace}/{ref.name}" for ref in secrets))), _sent_pem(sent))

    def _from_agent(self, path: Path) -> Given:
        if self.folder is None:
            return Given("agent")
        pem = file_content(self.folder / path)
        return Given(f"agent, {path}", pem or None, "" if pem else f"its agent has written no {path} yet")

    @property
    def _namespace(self) -> str:
        return self.proxy.name.rpartition(".")[2]

    def _problem_with(self, name: str) -> str:
        """What the control plane said of the Secret behind an SDS name."""
        wanted = name.removeprefix(names.CREDENTIAL)
        either = {wanted, wanted.removesuffix(names.CREDENTIAL_CA_SUFFIX)}
        words = [f"Secret {self._namespace}/{one}{end}" for one in either for end in (":", ";")]
        return next((one.message for one in self.problems if any(each in one.message for each in words)), "")

    def _secret(self, name: str, given: Given, *, is_roots: bool, by: UsedBy) -> ProxySecret:
        active = self.held.active.get(name) if self.held is not None else None
        status, why, found, other = self._judged(name, active, given)
        return ProxySecret(
            name=name,
            type="roots" if (is_roots if active is None else active.is_roots) else "certificate",
            source=given.source,
            status=status,
            why=why,
            certificates=found,
            given=other,
            used_by=by,
        )

    def _judged(self, name: str, active: HeldSecret | None, given: Given) -> _Judged:
        if self.held is None:
            return self._unasked(name, given)
        if active is not None:
            return self._in_use(active, given)
        ready = certificates(given.pem or b"")
        if name in self.held.warming:
            return SecretStatus.WARMING, given.why or _waiting(given), (), ready
        return SecretStatus.MISSING, given.why or "Envoy does not have it", (), ready

    def _in_use(self, active: HeldSecret, given: Given) -> _Judged:
        found = certificates(active.pem)
        expected = found if given.pem is None else certificates(given.pem)
        over = ended(found, self.now, is_roots=active.is_roots)
        if given.why:
            return SecretStatus.STALE, _joined(f"Envoy goes on with what it had: {given.why}", over), found, ()
        if expected != found:
            where = "its files hold" if given.source.startswith("agent") else "the control plane sent"
            return SecretStatus.STALE, _joined(f"Envoy uses another one than {where}", over), found, expected
        return (SecretStatus.EXPIRED if over else SecretStatus.ACTIVE), over, found, ()

    def _unasked(self, name: str, given: Given) -> _Judged:
        if self.report is not None and name in _AGENTS:
            found = (self.report.own,) if name == names.WORKLOAD_SECRET else self.report.roots
            over = ended(found, self.now, is_roots=name == names.ROOT_SECRET)
            lacking = "" if name == names.ROOT_SECRET else "serial, subject and begin are not in its report"
            return SecretStatus.REPORTED, _joined(over, self.silent, lacking), found, ()
        found = certificates(given.pem or b"")
        if given.why:
            return SecretStatus.MISSING, given.why, (), ()
        if found:
            return SecretStatus.GIVEN, _joined(self.silent, ended(found, self.now, is_roots=False)), found, ()
        lacking = "its agent has reported nothing" if name in _AGENTS else ""
        return SecretStatus.UNKNOWN, _joined(self.silent, lacking), (), ()


def _joined(*words: str) -> str:
    return "; ".join(each for each in words if each)


def _waiting(given: Given) -> str:
    if given.source.startswith("file "):
        return "Envoy waits for it: the files it names are not there, or are no PEM it can read"
    return "Envoy waits for it; connections that need it fail meanwhile"


def ended(found: tuple[Certificate, ...], now: datetime, *, is_roots: bool) -> str:
    """Why nobody takes it: its own certificate is over, or every root is. "" when somebody does."""
    ends = [one.valid_until for one in (found if is_roots else found[:1]) if one.valid_until is not None]
    if not ends or max(ends) > now:
        return ""
    return f"it ended at {max(ends).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def used_by(
    listeners: Iterable[Mapping[str, Any]], clusters: Iterable[Mapping[str, Any]]
) -> dict[str, tuple[bool, UsedBy]]:
    """Secret -> whether it is asked for as roots, and by whom."""
    of_listeners, of_clusters = _by_secret(listeners), _by_secret(clusters)
    return {
        key[0]: (key[1], UsedBy(tuple(sorted(of_listeners.get(key, ()))), tuple(sorted(of_clusters.get(key, ())))))
        for key in {**of_listeners, **of_clusters}
    }


def _by_secret(found: Iterable[Mapping[str, Any]]) -> dict[tuple[str, bool], set[str]]:
    asked: dict[tuple[str, bool], set[str]] = {}
    for one in found:
        for key in _named(one):
            asked.setdefault(key, set()).add(one.get("name", ""))
    return asked


def _named(value: Any) -> Iterator[tuple[str, bool]]:
    """Every secret that some configuration names. What is nested is our own, and so not deep."""
    if isinstance(value, list):
        for item in value:
            yield from _named(item)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if key in _NAMING:
                for each in item if isinstance(item, list) else [item]:
                    yield each.get("name", ""), _NAMING[key]
            else:
                yield from _named(item)


def _is_roots(sent: Mapping[str, Any] | None) -> bool:
    return sent is not None and "validationContext" in sent


def _sent_pem(sent: Mapping[str, Any]) -> bytes | None:
    """Chain or roots of a secret in protobuf JSON; None if these lie in files."""
    chain = sent.get("tlsCertificate", {}).get("certificateChain")
    source = chain or sent.get("validationContext", {}).get("trustedCa", {})
    return source["inlineString"].encode() if "inlineString" in source else None
