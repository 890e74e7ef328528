"""What an agent keeps beside an Envoy: its certificate and the roots of the mesh, one generation at a time."""

from datetime import UTC, datetime
from pathlib import Path

from controlplane.agent.generations import FOLDER, IdentityWriter, Stored
from controlplane.envoy.bootstrap import FILE, ProxyBootstrap, TlsServer, files
from tests.envoys.certificates import Pair, root_certificate

_SERVER = TlsServer(
    "localhost", 1, FOLDER, f"{FOLDER}/cert-chain.pem", f"{FOLDER}/key.pem", f"{FOLDER}/root-cert.pem", "localhost"
)


def put_identity(folder: Path, pair: Pair | None, roots: str | None = None) -> None:
    """A new generation in the directory an Envoy is, or will be, started in. None: where to look, and nothing there."""
    bootstrap = ProxyBootstrap(node_id="test", cluster="test", server=_SERVER, admin="admin.sock")
    for name, text in files(bootstrap, Path()).items():
        if name != FILE and not (folder / name).exists():
            (folder / name).write_text(text)
    writer = IdentityWriter(folder)
    writer.prepare()
    if pair is not None:
        trusted = root_certificate() if roots is None else roots
        stored = Stored(pair.key.encode(), pair.certificate.encode(), trusted.encode())
        writer.show(writer.stage(stored, datetime.now(UTC)))
