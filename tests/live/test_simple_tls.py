"""Mode SIMPLE verifies servers: with the machine's own authorities where a rule names no others."""

from contextlib import closing
from http.client import HTTPConnection

import pytest
import yaml

from controlplane.model.meta import ref_of
from tests.envoys import Upstreams
from tests.envoys.certificates import leaf
from tests.live.fleet import fleet
from tests.live.nodes import ground, nodes
from tests.meshes import decoded

PORT = 20_000
MESH = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: secure, namespace: alpha}
spec:
  hosts: [secure.test]  # the server's certificate is for localhost
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: %(port)s}]
  resolution: STATIC
  endpoints: [{address: %(ip)s}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: secure, namespace: alpha}
spec: {host: secure.test, trafficPolicy: {tls: %(tls)s}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: caller, namespace: alpha}
spec:
  egress:
  - {port: {number: 20000, protocol: HTTP, name: out}, bind: %(bind)s, captureMode: NONE, hosts: ["*/*"]}
"""


@pytest.mark.parametrize(
    ("tls", "known", "status"),
    [
        ("{mode: SIMPLE, subjectAltNames: [localhost]}", True, 200),
        ("{mode: SIMPLE, subjectAltNames: [localhost]}", False, 503),
        ("{mode: SIMPLE, subjectAltNames: [other.test]}", True, 503),
        ("{mode: SIMPLE}", True, 503),
        ("{mode: SIMPLE, insecureSkipVerify: true}", False, 200),
    ],
)
def test_a_server_nobody_vouches_for_is_not_called(tmp_path, tls, known, status):
    where = ground(tmp_path)
    alone = next(node for node in nodes(where) if node[0].name == "alone")
    with Upstreams() as upstreams, fleet([alone], roots=None if known else leaf("a.stranger").certificate) as envoys:
        ip, port = upstreams.add("secure", tls=True)
        documents = yaml.safe_load_all(MESH % {"ip": ip, "port": port, "tls": tls, "bind": f"{where.bind}.2"})
        values = [decoded(document) for document in documents]
        envoys.show({ref_of(value): value for value in values})
        envoys.wait_until_taken()
        assert envoys.nacks == []
        assert status_of(f"{where.bind}.2", "secure.test") == status


def status_of(address: str, host: str) -> int:
    """What a call through the explicit listener is answered."""
    with closing(HTTPConnection(address, PORT, timeout=10)) as connection:
        connection.request("GET", "/", headers={"host": host})
        return connection.getresponse().status
