"""Certificates and bundles in files of the proxy's machine come as secrets, and a real Envoy uses them."""

import pytest
import yaml

from controlplane.model.meta import ref_of
from tests.envoys import Upstreams
from tests.envoys.certificates import leaf, root_certificate
from tests.live.fleet import fleet
from tests.live.nodes import ground, nodes
from tests.live.test_simple_tls import MESH, status_of
from tests.meshes import decoded


@pytest.mark.parametrize(
    ("tls", "status"),
    [
        ("{mode: SIMPLE, caCertificates: %(ca)s, subjectAltNames: [localhost]}", 200),
        ("{mode: SIMPLE, caCertificates: %(stranger)s, subjectAltNames: [localhost]}", 503),
        (
            "{mode: MUTUAL, clientCertificate: %(chain)s, privateKey: %(key)s, caCertificates: %(ca)s, subjectAltNames: [localhost]}",
            200,
        ),
    ],
)
def test_a_destination_rule_names_files(tmp_path, tls, status):
    where = ground(tmp_path)
    files = {"ca": root_certificate(), "stranger": leaf("a.stranger").certificate}
    files |= {"chain": leaf("client").certificate, "key": leaf("client").key}
    for name, pem in files.items():
        (tmp_path / name).write_text(pem)
    alone = next(node for node in nodes(where) if node[0].name == "alone")
    with Upstreams() as upstreams, fleet([alone], roots=None) as envoys:
        ip, port = upstreams.add("secure", tls=True)
        written = tls % {name: tmp_path / name for name in files}
        documents = yaml.safe_load_all(MESH % {"ip": ip, "port": port, "tls": written, "bind": f"{where.bind}.2"})
        values = [decoded(document) for document in documents]
        envoys.show({ref_of(value): value for value in values})
        envoys.wait_until_taken()
        assert envoys.nacks == []
        assert status_of(f"{where.bind}.2", "secure.test") == status
