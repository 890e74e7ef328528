"""What is said of a proxy's secrets: what its Envoy uses, what it was given, and where these differ."""

import base64
import json
from collections.abc import Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2

from controlplane.envoy import secret
from controlplane.envoy.any import packed
from controlplane.envoy.tls import secret_config
from controlplane.local.heldsecrets import held_secrets
from controlplane.local.ports import ProxyStatus
from controlplane.local.secrets import ProxySecret, ProxySecrets
from controlplane.model.problem import Level, ObjectRef, Origin, Problem
from controlplane.runtime.unixhttp import NotFound, serving
from controlplane.security.authorities import Authorities
from controlplane.security.authority import Authority
from controlplane.security.holders import Holder, Holders, Report, root_ids, signer_id
from controlplane.security.rotation import Roots
from controlplane.snapshot.resource import Resource, resource
from controlplane.snapshot.types import LISTENER
from tests.tls import Signed, signed

ROOT, NEXT = signed("root"), signed("next root")
ME = "spiffe://cluster.local/ns/shop/sa/edge"
OWN, NEWER = signed("edge", ROOT, uri=ME), signed("edge", ROOT, uri=ME)
SITE, OTHER = signed("shop.example.com", ROOT), signed("shop.example.com", ROOT)
SITE_NAME = "kubernetes://site"
SECRET = Origin(ObjectRef("", "Secret", "shop", "site"))
GATEWAY = Origin(ObjectRef("networking.istio.io", "Gateway", "shop", "edge"))
NODE = "router~10.0.0.1~edge-0.shop~shop.svc.cluster.local"
NOW = datetime.now(UTC)


class Stopped:
    """A clock that stands."""

    def __init__(self, now: datetime = NOW) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return 0.0


class Control:
    """What is asked of a control plane."""

    def __init__(self, *resources: Resource, problems: tuple[Problem, ...] = ()) -> None:
        self._resources, self._problems = resources, problems

    def proxies(self) -> tuple[ProxyStatus, ...]:
        return (ProxyStatus(id=NODE, name="edge-0.shop", type="router", connected_seconds=1.0),)

    def resources(self, name: str) -> tuple[Resource, ...] | None:
        assert name == "edge-0.shop"
        return self._resources

    def problems(self) -> tuple[Problem, ...]:
        return self._problems


def listener(name: str, *secrets: str, roots: str = "") -> Resource:
    context = tls_pb2.DownstreamTlsContext()
    context.common_tls_context.tls_certificate_sds_secret_configs.extend(map(secret_config, secrets))
    if roots:
        combined = context.common_tls_context.combined_validation_context
        combined.validation_context_sds_secret_config.CopyFrom(secret_config(roots))
    made = listener_pb2.Listener(name=name)
    made.filter_chains.add().transport_socket.typed_config.CopyFrom(packed(context))
    return resource(LISTENER, name, made.SerializeToString())


def site(pair: Signed = SITE) -> Resource:
    return secret.encode_certificate(SITE_NAME, pair.pem, pair.key_pem, (SECRET,))


def dumped(name: str, *, chain: bytes = b"", roots: bytes = b"") -> dict[str, Any]:
    """As Envoy shows one, but that this one forgets to hide the key."""
    inline = {"inline_bytes": base64.b64encode(chain or roots).decode()}
    shown: dict[str, Any] = {"tls_certificate": {"certificate_chain": inline, "private_key": {"inline_string": KEY}}}
    if roots:
        shown = {"validation_context": {"trusted_ca": inline}}
    return {"name": name, "secret": {"name": name, **shown}}


KEY = SITE.key_pem.decode()


@asynccontextmanager
async def envoy(folder: Path, *active: Mapping[str, Any], warming: Iterable[str] = (), **more: list[dict[str, Any]]):
    """The admin socket of one."""
    dumps = {
        "dynamic_active_secrets": [*active],
        "dynamic_warming_secrets": [{"name": name} for name in warming],
        **more,
    }

    async def config_dump(query: Mapping[str, str]) -> Any:
        found = dumps.get(query["resource"])
        return {"configs": found} if found else {}

    async with serving(folder / "admin.sock", {"/config_dump": config_dump}):
        yield


def files(folder: Path, chain: bytes, roots: bytes) -> None:
    (folder / "identity").mkdir()
    (folder / "identity" / "key.pem").write_text(KEY)
    (folder / "identity" / "cert-chain.pem").write_bytes(chain)
    (folder / "identity" / "root-cert.pem").write_bytes(roots)


async def looked(
    control: Control, folder: Path | None, authorities: Authorities | None = None, now: datetime = NOW
) -> dict[str, ProxySecret]:
    found = await ProxySecrets(control, Stopped(now), authorities, lambda _: folder).of("edge")
    assert "PRIVATE KEY" not in msgspec.json.encode(found).decode()
    return {one.name: one for one in found}


async def test_what_envoy_uses_is_said_with_who_brought_it_and_who_asks_for_it(tmp_path):
    files(tmp_path, OWN.pem + ROOT.pem, ROOT.pem + NEXT.pem)
    control = Control(listener("l1", "default", roots="ROOTCA"), listener("l2", SITE_NAME), site())
    static = [{"cluster": {"name": "xds", "transport_socket": {
        "tls_certificate_sds_secret_configs": [{"name": "default"}],
        "validation_context_sds_secret_config": {"name": "ROOTCA"},
    }}}]  # fmt: skip
    active = dumped("default", chain=OWN.pem + ROOT.pem), dumped("ROOTCA", roots=ROOT.pem + NEXT.pem)
    async with envoy(tmp_path, *active, dumped(SITE_NAME, chain=SITE.pem), static_clusters=static):
        found = await looked(control, tmp_path)
    assert {name: (one.type, str(one.status), one.why, one.source) for name, one in found.items()} == {
        "ROOTCA": ("roots", "active", "", "agent, identity/root-cert.pem"),
        "default": ("certificate", "active", "", "agent, identity/cert-chain.pem"),
        SITE_NAME: ("certificate", "active", "", "xDS, Secret shop/site"),
    }
    assert (found["default"].used_by.listeners, found["default"].used_by.clusters) == (("l1",), ("xds",))
    assert found[SITE_NAME].used_by.listeners == ("l2",)
    own = found["default"].certificates[0]
    assert own.subject == (ME,)
    assert own.serial == f"{OWN.certificate.serial_number:x}"
    assert own.issuer == "CN=root"
    assert own.valid_until == OWN.certificate.not_valid_after_utc
    assert {one.sha256 for one in found["ROOTCA"].certificates} == root_ids([ROOT.certificate, NEXT.certificate])


async def test_an_envoy_that_uses_something_else_than_it_was_given_is_told(tmp_path):
    files(tmp_path, NEWER.pem, ROOT.pem + NEXT.pem)
    control = Control(listener("l", "default", SITE_NAME, roots="ROOTCA"), site(OTHER))
    active = dumped("default", chain=OWN.pem), dumped("ROOTCA", roots=ROOT.pem), dumped(SITE_NAME, chain=SITE.pem)
    async with envoy(tmp_path, *active):
        found = await looked(control, tmp_path)
    assert {name: (str(one.status), one.why) for name, one in found.items()} == {
        "ROOTCA": ("stale", "Envoy uses another one than its files hold"),
        "default": ("stale", "Envoy uses another one than its files hold"),
        SITE_NAME: ("stale", "Envoy uses another one than the control plane sent"),
    }
    assert found["default"].certificates[0].serial == f"{OWN.certificate.serial_number:x}"
    assert found["default"].given[0].serial == f"{NEWER.certificate.serial_number:x}"
    assert len(found["ROOTCA"].given) == 2


async def test_what_has_ended_is_told(tmp_path):
    files(tmp_path, OWN.pem, ROOT.pem)
    control, later = Control(listener("l", "default"), site(OTHER)), NOW + timedelta(days=2)
    over = f"it ended at {OWN.certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
    async with envoy(tmp_path, dumped("default", chain=OWN.pem), dumped(SITE_NAME, chain=SITE.pem)):
        found = await looked(control, tmp_path, now=later)
    assert (found["default"].status, found["default"].why) == ("expired", over)
    assert found[SITE_NAME].status == "stale"
    assert "; it ended at " in found[SITE_NAME].why
    assert "; it ended at " in (await looked(control, None, now=later))[SITE_NAME].why


@pytest.mark.parametrize("held", [True, False])
async def test_what_is_not_there_says_what_the_control_plane_has_against_it(tmp_path, held):
    """Another Secret whose name only begins so is not taken for it."""
    text = "there is no Secret shop/site; connections that need it fail until there is one"
    other = Problem("InvalidGatewayCredential", Level.ERROR, GATEWAY, text.replace("site", "site-2"))
    problems = (other, Problem("InvalidGatewayCredential", Level.ERROR, GATEWAY, text))
    control = Control(listener("l", SITE_NAME, "file-cert:/a.pem~/a.key"), problems=problems)
    active = [dumped(SITE_NAME, chain=SITE.pem)] if held else []
    async with envoy(tmp_path, *active, warming=["file-cert:/a.pem~/a.key", *([] if held else [SITE_NAME])]):
        found = await looked(control, tmp_path)
    before = "Envoy goes on with what it had: " if held else ""
    assert (found[SITE_NAME].status, found[SITE_NAME].why) == ("stale" if held else "warming", before + text)
    assert found["file-cert:/a.pem~/a.key"].source == "file /a.pem"
    assert found["file-cert:/a.pem~/a.key"].why.startswith("Envoy waits for it: the files it names are not there")
    async with envoy(tmp_path):
        assert (await looked(Control(listener("l", SITE_NAME)), tmp_path))[SITE_NAME].status == "missing"


async def test_what_cannot_be_read_is_no_certificate(tmp_path):
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    async with envoy(tmp_path, dumped(SITE_NAME, chain=KEY.encode() + broken + SITE.pem)):
        found = await looked(Control(), tmp_path)
    assert [one.subject for one in found[SITE_NAME].certificates] == [("shop.example.com",)]


def authorities(*reports: Report) -> Authorities:
    holders = Holders(Stopped(), lambda: [Holder("shop", "edge", NODE)], settled=0.0)
    for report in reports:
        holders.heard(_Caller(), NODE, report)  # type: ignore[arg-type]
    current = Authority(ROOT.certificate, ROOT.key, (), (ROOT.certificate,))
    return Authorities(None, Roots(current), holders, ())  # type: ignore[arg-type]


class _Caller:
    namespace, account = "shop", "edge"


async def test_where_envoy_cannot_be_asked_reports_are_shown_and_what_they_lack_is_said():
    trusted = authorities()
    ends = NOW.replace(microsecond=0) + timedelta(hours=3)
    report = Report(root_ids([ROOT.certificate]) | {"f" * 64}, signer_id(trusted.roots.current), ends)
    control = Control(listener("l", "default", SITE_NAME, roots="ROOTCA"), site())
    found = await looked(control, None, authorities(report))
    assert {name: str(one.status) for name, one in found.items()} == {
        "ROOTCA": "reported", "default": "reported", SITE_NAME: "given",
    }  # fmt: skip
    own = found["default"].certificates[0]
    assert (own.issuer, own.valid_until, own.serial) == ("CN=root", ends, "")
    assert "cannot be asked from here" in found["default"].why
    assert "serial, subject and begin are not in its report" in found["default"].why
    assert [one.issuer for one in found["ROOTCA"].certificates] == ["CN=root", ""]
    nothing = await looked(control, None, trusted)
    assert nothing["default"].status == "unknown"
    assert "its agent has reported nothing" in nothing["default"].why
    assert (await looked(control, None))["ROOTCA"].status == "unknown"


async def test_an_envoy_that_does_not_answer_is_no_error(tmp_path):
    files(tmp_path, OWN.pem, ROOT.pem)
    found = await looked(Control(listener("l", "default")), tmp_path)
    assert found["default"].status == "given"
    assert "cannot be asked from here" in found["default"].why
    (tmp_path / "admin.sock").touch()
    with pytest.raises(OSError, match="refused"):
        await held_secrets(tmp_path / "admin.sock")


async def test_nobody_is_asked_about_a_proxy_that_is_not_there():
    with pytest.raises(NotFound, match="no proxy is called 'x'"):
        await ProxySecrets(Control(), Stopped(), None).of("x")


def test_json_is_what_docs_say():
    row = ProxySecret(name="default", type="certificate", source="agent", status="active")  # type: ignore[arg-type]
    assert list(json.loads(msgspec.json.encode(row))) == [
        "name", "type", "source", "status", "why", "certificates", "given", "usedBy",
    ]  # fmt: skip
