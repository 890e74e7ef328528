"""What each kind may say: one line a rule, as (document, path into its spec, value, problem)."""

from copy import deepcopy
from typing import Any

import pytest

from controlplane.model.codes import CODES
from controlplane.model.problem import Level
from tests.model.documents import decode, named

VS, ACTION, DR, GW = "every-match", "every-action", "every-block", "every-server"
SE, WE, SC = "static", "vm-1", "every-field"
AP, ASK, ATT = "every-rule-field", "asks-elsewhere", "attached"
FROM, TO, WHEN = "rules[0].from[0].source", "rules[0].to[0].operation", "rules[0].when[0]"
POOL = "trafficPolicy.connectionPool"
LB = "trafficPolicy.loadBalancer"
HASH = "subsets[0].trafficPolicy.loadBalancer.consistentHash"
LOCALITY = "trafficPolicy.loadBalancer.localityLbSetting"

# fmt: off
RULES: list[tuple[str, str, Any, str, str]] = [
    # document, where to put the value, the value, code, path of the problem ("" = where the value is)
    (VS, "hosts[0]", "*", "InvalidHost", ""),
    (VS, "hosts[0]", "a..b", "InvalidHost", ""),
    (VS, "hosts[0]", "*.example.com", "DuplicateValue", "hosts[1]"),
    (VS, "hosts[0]", "x" * 256, "InvalidHost", ""),
    (VS, "gateways[1]", "a/b/c", "InvalidName", ""),
    (VS, "gateways[1]", "A/b", "InvalidName", ""),
    (VS, "gateways[1]", "ns/", "InvalidName", ""),
    (VS, "exportTo[0]", "*", "InvalidExportTo", "exportTo"),
    (VS, "exportTo[0]", "other", "DuplicateValue", "exportTo[1]"),
    (VS, "http", [], "RequiredField", "."),
    (VS, "http[0].match[0].uri.prefix", "", "", ""),
    (VS, "http[0].match[0].authority.prefix", "", "InvalidMatch", ""),
    (VS, "http[0].match[0].withoutHeaders", {"x": {"regex": "*"}}, "", ""),
    (VS, "http[0].match[0].headers", {"x": {"regex": "*"}}, "InvalidRegex", "http[0].match[0].headers[x].regex"),
    (VS, "hosts[0]", "a\n\x1b[31mb", "InvalidHost", ""),
    (VS, "http[0].match[0].method.regex", "", "InvalidRegex", ""),
    (VS, "http[0].match[0].method.regex", "(?=x)", "InvalidRegex", ""),
    (VS, "http[0].match[0].method.regex", "a" * 1025, "InvalidRegex", ""),
    (VS, "http[0].match[0].method.regex", "a{1000}" * 33, "InvalidRegex", ""),
    (VS, "http[0].headers", {"request": {"add": {"x": "%NOPE%"}}}, "InvalidHeader", "http[0].headers.request.add[x]"),
    (VS, "http[0].match[0].headers", {"bad name": {}}, "InvalidHeader", "http[0].match[0].headers[bad name]"),
    (VS, "http[0].headers", {"request": {"add": {"x": "y" * 16_384}}}, "", ""),
    (VS, "http[0].headers", {"request": {"add": {"x": "y" * 16_385}}}, "InvalidHeader", "http[0].headers.request.add[x]"),
    (VS, "http[0].match[0].queryParams", {"": {"exact": "x"}}, "InvalidMatch", "http[0].match[0].queryParams[]"),
    (VS, "http[0].match[0].port", 0, "InvalidPort", ""),
    (VS, "http[0].match[0].sourceNamespace", "A", "InvalidName", ""),
    (VS, "http[0].match[0].uri", {"regex": "x"}, "NoEffect", "http[0].match[0].ignoreUriCase"),
    (VS, "http[0].route[0].destination.host", "", "RequiredField", ""),
    (VS, "http[0].route[0].destination.host", "*.example.com", "InvalidHost", ""),
    (VS, "http[0].route[0].destination.subset", "V 1", "InvalidName", ""),
    (VS, "http[0].route[0].destination.port", {}, "RequiredField", "http[0].route[0].destination.port.number"),
    (VS, "http[0].route[0].weight", -1, "InvalidValue", ""),
    (VS, "http[0].route[0].weight", 2**31 - 1, "", ""),
    (VS, "http[0].route[0].destination", None, "RequiredField", ""),
    (VS, "http[0].route[0].headers.request.set", {":path": "/"}, "InvalidHeader", "http[0].route[0].headers.request.set[:path]"),
    (VS, "http[0].route[0].headers.request.add", {"Host": "x"}, "InvalidHeader", "http[0].route[0].headers.request.add[Host]"),
    (VS, "http[0].route[0].headers.request.set", {"Host": "x"}, "", ""),
    (VS, "http[0].route[0].headers.request.remove[0]", "host", "InvalidHeader", ""),
    (VS, "http[0].route[0].headers.response.set", {"x": "a\nb"}, "InvalidHeader", "http[0].route[0].headers.response.set[x]"),
    (VS, "http[0].route[0].headers.response.set", {"x": "%START_TIME(%Y/%m)%, %REQ(A?:B):9%, 5%%"}, "", ""),
    (VS, "http[0].route[0].headers.response.set", {"x": "%REQ(a)"}, "InvalidHeader", "http[0].route[0].headers.response.set[x]"),
    (VS, "http[0].retries.attempts", 0, "NoEffect", "http[0].retries"),
    (VS, "http[0].retries.retryOn", "5xx, 700", "InvalidRetryOn", ""),
    (VS, "http[0].retries.backoff", "0s", "InvalidDuration", ""),
    (VS, "http[0].fault.delay.fixedDelay", "0s", "InvalidDuration", ""),
    (VS, "http[0].fault.delay.fixedDelay", None, "RequiredField", ""),
    (VS, "http[0].fault.delay.percentage.value", -1, "InvalidPercentage", ""),
    (VS, "http[0].fault.abort.httpStatus", 99, "InvalidStatus", ""),
    (VS, "http[0].fault.abort", {}, "RequiredField", ""),
    (VS, "http[0].fault.abort", {"http2Error": "x"}, "InvalidStatus", "http[0].fault.abort.http2Error"),
    (VS, "http[0].fault", {}, "RequiredField", ""),
    (VS, "http[0].mirrorPercentage.value", 100.1, "InvalidPercentage", ""),
    (VS, "http[0].mirrors", [{"destination": {"host": "x"}}], "ConflictingFields", "http[0].mirror"),
    (VS, "http[0].corsPolicy.allowOrigins[0]", {}, "RequiredField", ""),
    (VS, "http[0].corsPolicy.allowMethods[0]", "get", "InvalidValue", ""),
    (VS, "http[0].corsPolicy.allowHeaders[0]", "a b", "InvalidHeader", ""),
    (VS, "http[0].corsPolicy.maxAge", "-1s", "InvalidDuration", ""),
    (VS, "http[0].rewrite", {}, "RequiredField", ""),
    (VS, "http[0].rewrite.uriRegexRewrite", {"match": "a", "rewrite": "b"}, "ConflictingFields", "http[0].rewrite"),
    (ACTION, "http[5].rewrite.uriRegexRewrite.match", "(", "InvalidRegex", ""),
    (ACTION, "http[5].rewrite.uriRegexRewrite.rewrite", None, "RequiredField", ""),
    (ACTION, "http[5].rewrite.uriRegexRewrite.rewrite", r"/\9", "InvalidRegex", ""),
    (ACTION, "http[5].rewrite.uriRegexRewrite.rewrite", r"/\d", "InvalidRegex", ""),
    (ACTION, "http[5].rewrite.uriRegexRewrite.rewrite", "/\\", "InvalidRegex", ""),
    (ACTION, "http[5].rewrite.uriRegexRewrite.rewrite", "/\n", "InvalidValue", ""),
    (ACTION, "http[5].rewrite.authority", "a\rb", "InvalidValue", ""),
    (VS, "http[0].rewrite.uri", "/a\0b", "InvalidValue", ""),
    (ACTION, "http[0].redirect.uri", "/a\nb", "InvalidValue", ""),
    (ACTION, "http[0].redirect.authority", "a\nb", "InvalidValue", ""),
    (ACTION, "http[5].fault.abort.grpcStatus", "BROKEN", "InvalidStatus", ""),
    (ACTION, "http[5].fault.abort.grpcStatus", "14", "", ""),
    (ACTION, "http[5].mirrors[0].destination", None, "RequiredField", ""),
    (ACTION, "http[0].redirect.redirectCode", 200, "InvalidStatus", ""),
    (ACTION, "http[0].redirect.redirectCode", 304, "InvalidStatus", ""),
    (ACTION, "http[0].redirect.scheme", "ftp", "InvalidValue", ""),
    (ACTION, "http[0].redirect.derivePort", "FROM_REQUEST_PORT", "ConflictingFields", "http[0].redirect"),
    (ACTION, "http[0].redirect.prefixRewrite", "/", "ConflictingFields", "http[0].redirect"),
    (ACTION, "http[0].redirect", {}, "RequiredField", ""),
    (ACTION, "http[0].rewrite", {"uri": "/"}, "ConflictingFields", ""),
    (ACTION, "http[0].fault", {"abort": {"httpStatus": 500}}, "ConflictingFields", ""),
    (ACTION, "http[0].retries", {"attempts": 1}, "NoEffect", ""),
    (ACTION, "http[2].directResponse.status", 100, "InvalidStatus", ""),
    (ACTION, "http[2].directResponse.status", None, "RequiredField", ""),
    (ACTION, "http[2].directResponse.body", {}, "RequiredField", ""),
    (ACTION, "http[2].directResponse.body.string", "x" * 1048577, "InvalidValue", "http[2].directResponse.body"),
    (ACTION, "http[3].directResponse.body.bytes", "!", "InvalidValue", ""),
    (ACTION, "http[4].delegate.name", "", "RequiredField", ""),
    (ACTION, "http[4].delegate.namespace", "A", "InvalidName", ""),
    (ACTION, "http[4].route", [{"destination": {"host": "a"}}], "ConflictingFields", "http[4]"),
    (ACTION, "hosts", [], "InvalidDelegate", ""),
    (ACTION, "tls[0].match[0].sniHosts[0]", "other.com", "InvalidHost", ""),
    (ACTION, "tls[0].match[0].sniHosts", [], "RequiredField", ""),
    (ACTION, "tls[0].match", [], "RequiredField", ""),
    (ACTION, "tls[0].match[0].destinationSubnets[0]", "10.0.0.0/33", "InvalidAddress", ""),
    (ACTION, "tls[0].route", [], "RequiredField", ""),
    (ACTION, "tcp[0].match[0].port", 65536, "InvalidPort", ""),
    (ACTION, "tcp[0].match[0].sourceSubnet", "10.0.0.0/8", "InvalidMatch", ""),
    (ACTION, "tcp[0].match[0].gateways[0]", "A B", "InvalidName", ""),
    ("inner", "gateways", ["mesh"], "InvalidDelegate", "hosts"),
    ("inner", "http[0]", {"delegate": {"name": "x"}}, "InvalidDelegate", "http[0].delegate"),
    (DR, "host", "", "RequiredField", ""),
    (DR, "host", "a b", "InvalidHost", ""),
    (DR, "workloadSelector.matchLabels", {"a/b/c": "x"}, "InvalidLabel", "workloadSelector.matchLabels[a/b/c]"),
    (DR, "subsets[0].name", "", "RequiredField", ""),
    (DR, "subsets[0].name", "v2", "DuplicateValue", "subsets[1].name"),
    (DR, "subsets[0].labels", {"version": "v*"}, "InvalidLabel", "subsets[0].labels[version]"),
    (DR, f"{POOL}.tcp.connectTimeout", "0s", "InvalidDuration", ""),
    (DR, f"{POOL}.tcp.tcpKeepalive.interval", "0.1ms", "InvalidDuration", ""),
    (DR, f"{POOL}.http.maxRetries", -1, "InvalidValue", ""),
    (DR, f"{POOL}.http.useClientProtocol", True, "ConflictingFields", f"{POOL}.http"),
    (DR, f"{POOL}.http.http2KeepAlive.timeout", "0s", "InvalidDuration", ""),
    (DR, f"{LB}.warmup.duration", None, "RequiredField", ""),
    (DR, f"{LB}.warmup.aggression", 0.5, "InvalidValue", ""),
    (DR, f"{LB}.simple", "RANDOM", "NoEffect", f"{LB}.warmup"),
    (DR, f"{LOCALITY}.failover", [{"from": "a", "to": "b"}], "ConflictingFields", LOCALITY),
    (DR, f"{LOCALITY}.distribute[0].to", {"a": 50}, "InvalidLocality", ""),
    (DR, f"{LOCALITY}.distribute[0].from", "*/zone", "InvalidLocality", ""),
    (DR, f"{LOCALITY}.distribute[0].from", "a/b/c/d", "InvalidLocality", ""),
    (DR, f"subsets[2].{LOCALITY}.failover[0].to", "us-east", "InvalidLocality", f"subsets[2].{LOCALITY}.failover[0]"),
    (DR, f"subsets[2].{LOCALITY}.failover[0].to", "eu/zone", "InvalidLocality", ""),
    (DR, f"{HASH}.useSourceIp", True, "ConflictingFields", HASH),
    (DR, f"{HASH}.httpCookie", None, "RequiredField", HASH),
    (DR, f"{HASH}.httpCookie.name", "", "RequiredField", ""),
    (DR, f"{HASH}.httpCookie.attributes[0].name", "", "RequiredField", ""),
    (DR, f"{HASH}.ringHash.minimumRingSize", 2**24, "InvalidLoadBalancer", f"{HASH}.ringHash"),
    (DR, f"{HASH}.maglev", {}, "ConflictingFields", HASH),
    (DR, "subsets[1].trafficPolicy.loadBalancer.consistentHash.useSourceIp", False, "InvalidLoadBalancer", ""),
    (DR, "subsets[3].trafficPolicy.loadBalancer.consistentHash.httpQueryParameterName", "", "RequiredField", ""),
    (DR, "trafficPolicy.portLevelSettings[0].loadBalancer.consistentHash.maglev.tableSize", 65536, "InvalidLoadBalancer", ""),
    (DR, "trafficPolicy.portLevelSettings[0].port", {}, "RequiredField", "trafficPolicy.portLevelSettings[0].port.number"),
    (DR, "trafficPolicy.portLevelSettings[0].port.number", 0, "InvalidPort", ""),
    (DR, "trafficPolicy.outlierDetection.interval", "0s", "InvalidDuration", ""),
    (DR, "trafficPolicy.outlierDetection.maxEjectionPercent", 101, "InvalidPercentage", ""),
    (DR, "trafficPolicy.outlierDetection.splitExternalLocalOriginErrors", False, "NoEffect",
     "trafficPolicy.outlierDetection.consecutiveLocalOriginFailures"),
    (DR, "trafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes[0]", 99, "InvalidStatus", ""),
    (DR, "trafficPolicy.tls.credentialName", "x", "InvalidTLS", "trafficPolicy.tls"),
    (DR, "trafficPolicy.tls.privateKey", None, "RequiredField", ""),
    (DR, "trafficPolicy.tls.mode", "ISTIO_MUTUAL", "InvalidTLS", "trafficPolicy.tls"),
    (DR, "trafficPolicy.tls.insecureSkipVerify", True, "InvalidTLS", "trafficPolicy.tls"),
    (DR, "trafficPolicy.tls.subjectAltNames[0]", "", "InvalidValue", ""),
    (DR, "trafficPolicy.tunnel.protocol", "SOCKS", "InvalidValue", ""),
    (DR, "trafficPolicy.tunnel.targetHost", "*.com", "InvalidHost", ""),
    (DR, "trafficPolicy.tunnel.targetPort", None, "RequiredField", ""),
    (DR, "trafficPolicy.retryBudget.percent", 101, "InvalidPercentage", ""),
    (GW, "servers", [], "RequiredField", ""),
    (GW, "selector", {}, "RequiredField", ""),
    (GW, "servers[0].hosts", [], "RequiredField", ""),
    (GW, "servers[0].hosts[0]", "Ns/a.com", "InvalidHost", ""),
    (GW, "servers[0].hosts[0]", "a b", "InvalidHost", ""),
    (GW, "servers[0].port", None, "RequiredField", ""),
    (GW, "servers[0].port.number", 70000, "InvalidPort", ""),
    (GW, "servers[0].port.protocol", "SPDY", "InvalidPort", ""),
    (GW, "servers[0].port.name", "", "RequiredField", ""),
    (GW, "servers[0].port.name", "tcp", "DuplicateValue", "servers[6].port.name"),
    (GW, "servers[0].bind", "localhost", "InvalidAddress", ""),
    (GW, "servers[0].tls", {"mode": "SIMPLE", "credentialName": "x"}, "InvalidTLS", ""),
    (GW, "servers[1].tls", None, "InvalidTLS", ""),
    (GW, "servers[1].tls.httpsRedirect", True, "NoEffect", ""),
    (GW, "servers[1].tls.privateKey", None, "RequiredField", ""),
    (GW, "servers[1].tls.caCertificates", None, "InvalidTLS", "servers[1].tls"),
    (GW, "servers[1].tls.credentialName", "x", "InvalidTLS", "servers[1].tls"),
    (GW, "servers[1].tls.maxProtocolVersion", "TLSV1_1", "InvalidTLS", ""),
    (GW, "servers[2].tls.maxProtocolVersion", "TLSV1_1", "InvalidTLS", ""),
    (GW, "servers[2].tls.caCrl", "/crl.pem", "InvalidTLS", ""),
    (GW, "servers[3].tls.subjectAltNames", ["a"], "NoEffect", ""),
    (GW, "servers[1].tls.cipherSuites[0]", "ROT13", "InvalidTLS", ""),
    (GW, "servers[1].tls.ecdhCurves[0]", "P-1", "InvalidTLS", ""),
    (GW, "servers[1].tls.ecdhCurves[0]", "P-256", "DuplicateValue", "servers[1].tls.ecdhCurves[1]"),
    (GW, "servers[1].tls.verifyCertificateSpki[0]", "abc", "InvalidTLS", ""),
    (GW, "servers[1].tls.verifyCertificateHash[0]", "xyz", "InvalidTLS", ""),
    (GW, "servers[2].tls.credentialName", None, "InvalidTLS", "servers[2].tls"),
    (GW, "servers[3].tls.credentialNames", ["a", "b", "c"], "InvalidTLS", ""),
    (GW, "servers[4].tls.tlsCertificates[0].privateKey", None, "RequiredField", ""),
    (GW, "servers[5].port.protocol", "HTTPS", "InvalidTLS", "servers[5].tls.mode"),
    (GW, "servers[5].tls.credentialName", "x", "NoEffect", "servers[5].tls"),
    (GW, "servers[2].tls.mode", None, "NoEffect", "servers[2].tls"),
    (GW, "servers[7].tls.credentialName", "x", "InvalidTLS", "servers[7].tls"),
    (SE, "hosts", [], "RequiredField", ""),
    (SE, "hosts[0]", "*", "InvalidHost", ""),
    (SE, "hosts", [f"h{i}.com" for i in range(257)], "InvalidValue", ""),
    (SE, "addresses[0]", "nonsense", "InvalidAddress", ""),
    (SE, "ports", [], "NoEffect", ""),
    (SE, "ports[0].name", "http", "DuplicateValue", "ports[1].name"),
    (SE, "ports[0].number", 80, "DuplicateValue", "ports[1].number"),
    (SE, "ports[0].number", 0, "InvalidPort", ""),
    (SE, "ports[0].name", "a b", "InvalidPort", ""),
    (SE, "ports[0].protocol", "X", "InvalidPort", ""),
    (SE, "resolution", "NONE", "ConflictingFields", "endpoints"),
    (SE, "resolution", "NONE", "ConflictingFields", "ports[0].targetPort"),
    (SE, "resolution", "DNS", "InvalidAddress", "addresses[1]"),
    (SE, "endpoints", [], "NoEffect", ""),
    (SE, "endpoints[0].address", "db.internal", "InvalidAddress", ""),
    (SE, "endpoints[0].address", None, "", ""),
    (SE, "endpoints[0].ports", {"x": 1}, "InvalidPort", "endpoints[0].ports[x]"),
    (SE, "workloadSelector", {"labels": {"a": "b"}}, "ConflictingFields", "endpoints"),
    (SE, "workloadSelector", {}, "RequiredField", "workloadSelector.labels"),
    ("selected", "hosts[0]", "*.example.com", "", ""),
    ("selected", "resolution", "DNS_ROUND_ROBIN", "", ""),
    ("passing", "resolution", "DNS", "InvalidHost", "hosts[0]"),
    ("socket", "endpoints[0].address", "unix://relative", "InvalidAddress", ""),
    ("socket", "endpoints[0].ports", {"http": 1}, "InvalidAddress", "endpoints[0].address"),
    ("socket", "ports", [{"number": 1, "name": "a"}, {"number": 2, "name": "b"}], "InvalidPort", "endpoints[0].address"),
    (WE, "address", "a b", "InvalidAddress", ""),
    (WE, "address", "x" * 257, "InvalidAddress", ""),
    (WE, "ports", {"http": 0}, "InvalidPort", "ports[http]"),
    (WE, "ports", {"a b": 80}, "InvalidPort", "ports[a b]"),
    (WE, "locality", "a/b/c/d", "InvalidLocality", ""),
    (WE, "labels", {"a": "b c"}, "InvalidLabel", "labels[a]"),
    (SC, "workloadSelector.labels", {"a": "*"}, "InvalidLabel", "workloadSelector.labels[a]"),
    (SC, "ingress[0].port", None, "RequiredField", ""),
    (SC, "ingress[0].port.number", None, "RequiredField", ""),
    (SC, "ingress[0].bind", "unix:///x", "InvalidAddress", ""),
    (SC, "ingress[0].defaultEndpoint", "10.0.0.1:80", "InvalidAddress", ""),
    (SC, "ingress[0].defaultEndpoint", "127.0.0.1:0", "InvalidAddress", ""),
    (SC, "ingress[0].tls.mode", "PASSTHROUGH", "InvalidTLS", ""),
    (SC, "ingress[1].port.number", 9080, "DuplicateValue", "ingress[1].port"),
    (SC, "egress[0].hosts", [], "RequiredField", ""),
    (SC, "egress[0].hosts[0]", "db.example.com", "InvalidHost", ""),
    (SC, "egress[0].hosts[0]", "Ns/db.example.com", "InvalidHost", ""),
    (SC, "egress[0].bind", "somewhere", "InvalidAddress", ""),
    (SC, "egress[0].port", None, "ConflictingFields", "egress[0]"),
    (SC, "egress[1].bind", "127.0.0.1", "ConflictingFields", ""),
    (SC, "inboundConnectionPool.tcp.maxConnections", -1, "InvalidValue", ""),
    (SC, "outboundTrafficPolicy.egressProxy.host", "", "RequiredField", ""),
    (SC, "outboundTrafficPolicy.mode", "REGISTRY_ONLY", "ConflictingFields", "outboundTrafficPolicy.egressProxy"),
    (AP, "selector.matchLabels", {"app": "a*"}, "InvalidLabel", "selector.matchLabels[app]"),
    (AP, "targetRefs", [{"kind": "Gateway", "name": "x"}], "ConflictingFields", "."),
    (ATT, "targetRefs", [{"kind": "Gateway", "name": "x"}] * 17, "InvalidValue", ""),
    (AP, "rules", [{}] * 512, "", ""),
    (AP, "rules", [{}] * 513, "InvalidValue", ""),
    (AP, "rules[0]", {}, "", ""),
    (AP, "rules[0].from", [], "RequiredField", ""),
    (AP, "rules[0].to", [], "RequiredField", ""),
    (AP, "rules[0].from[0]", {}, "RequiredField", FROM),
    (AP, FROM, {}, "RequiredField", ""),
    (AP, FROM, {"principals": []}, "RequiredField", ""),
    (AP, f"{FROM}.principals", [], "NoEffect", ""),
    (AP, f"{FROM}.principals[0]", "", "RequiredField", ""),
    (AP, f"{FROM}.principals[0]", "*/ns/a/sa/*", "InvalidMatch", ""),
    (AP, f"{FROM}.principals[0]", "a/ns/*/sa/b", "InvalidMatch", ""),
    (AP, f"{FROM}.principals[0]", "x" * 1025, "InvalidValue", ""),
    (AP, f"{FROM}.principals", ["*", "*/sa/b", "cluster.local/*"], "", ""),
    (AP, f"{FROM}.notNamespaces[0]", "a*b", "InvalidMatch", ""),
    (AP, f"{FROM}.trustDomains[0]", "", "RequiredField", ""),
    (AP, f"{FROM}.requestPrincipals[0]", "https://issuer.example.com/*", "", ""),
    (AP, f"{FROM}.requestPrincipals[0]", "/" * 17, "InvalidValue", ""),
    (AP, f"{FROM}.requestPrincipals", ["/".join("abcdefghijklmnop")] * 300, "InvalidValue", "rules"),
    (AP, f"{FROM}.ipBlocks[0]", "10.0.0.0/33", "InvalidAddress", ""),
    (AP, f"{FROM}.ipBlocks[0]", "10.0.0.0/255.0.0.0", "InvalidAddress", ""),
    (AP, f"{FROM}.ipBlocks[0]", "fe80::1%eth0", "InvalidAddress", ""),
    (AP, f"{FROM}.notRemoteIpBlocks[0]", "somewhere", "InvalidAddress", ""),
    (AP, f"{FROM}.serviceAccounts", ["a/b"], "ConflictingFields", FROM),
    (AP, "rules[0].from[1].source.serviceAccounts[0]", "a/b/c", "InvalidName", ""),
    (AP, "rules[0].from[1].source.serviceAccounts[0]", "a/*", "InvalidName", ""),
    (AP, "rules[0].from[1].source.serviceAccounts[0]", "/b", "InvalidName", ""),
    (AP, "rules[0].from[1].source.serviceAccounts[0]", "a.b/c", "InvalidName", ""),
    (AP, "rules[0].from[1].source.serviceAccounts[0]", "a/b.c", "", ""),
    (AP, "rules[0].from[1].source.serviceAccounts", ["a"] * 17, "InvalidValue", ""),
    (AP, "rules[0].to[0]", {}, "RequiredField", TO),
    (AP, TO, {}, "RequiredField", ""),
    (AP, f"{TO}.hosts[0]", "a.*.b", "InvalidMatch", ""),
    (AP, f"{TO}.notHosts", ["a.b"], "HostWithoutPort", ""),
    (AP, f"{TO}.notHosts", ["*.b", "*.b:80", "[::1]", "[::1]:80", "a*", "A:80"], "", ""),
    (AP, f"{TO}.ports[0]", "http", "InvalidPort", ""),
    (AP, f"{TO}.ports[0]", "65536", "InvalidPort", ""),
    (AP, f"{TO}.ports[0]", "-1", "InvalidPort", ""),
    (AP, f"{TO}.ports[0]", "\u0669", "InvalidPort", ""),
    (AP, f"{TO}.notMethods[0]", "", "RequiredField", ""),
    (AP, f"{TO}.paths[0]", "/{id}", "InvalidMatch", ""),
    (AP, f"{TO}.paths[0]", "/a{*}", "InvalidMatch", ""),
    (AP, f"{TO}.paths[0]", "/{**}/{*}", "InvalidMatch", ""),
    (AP, f"{TO}.paths[0]", "/{*}//x", "InvalidMatch", ""),
    (AP, f"{TO}.paths[0]", "/{*}/(a+)+$", "", ""),
    (AP, f"{TO}.paths[0]", "/{*}/a[0-9]", "InvalidMatch", ""),
    (AP, f"{TO}.paths[0]", "{*}/a", "InvalidMatch", ""),
    (AP, f"{TO}.paths[0]", "/{**}/a/b/", "", ""),
    (AP, f"{TO}.paths[0]", "*/admin/*", "InvalidMatch", ""),
    (AP, f"{TO}.paths[0]", "package.Service/Method", "NoEffect", ""),
    (AP, f"{WHEN}.key", "", "RequiredField", ""),
    (AP, f"{WHEN}.key", "request.header[x]", "InvalidMatch", ""),
    (AP, f"{WHEN}.key", "request.headers", "InvalidMatch", ""),
    (AP, f"{WHEN}.key", "request.headers[]", "InvalidMatch", ""),
    (AP, f"{WHEN}.key", "request.headers[a][b]", "InvalidMatch", ""),
    (AP, f"{WHEN}.key", "request.headers[a b]", "InvalidHeader", ""),
    (AP, f"{WHEN}.key", "request.headers[:authority]", "", ""),
    (AP, f"{WHEN}.key", "request.headers[:status]", "InvalidHeader", ""),
    (AP, f"{WHEN}.key", "request.auth.claims[a][b][c]", "", ""),
    (AP, f"{WHEN}.key", "request.auth.claims[https://example.com/roles]", "", ""),
    (AP, f"{WHEN}.key", "request.auth.claims[a][b", "InvalidMatch", ""),
    (AP, f"{WHEN}.key", "destination.labels[version]", "InvalidMatch", ""),
    (AP, f"{WHEN}.key", "experimental.envoy.filters.network.mysql_proxy[db.table]", "", ""),
    (AP, f"{WHEN}.key", "experimental.envoy.filters.", "InvalidMatch", ""),
    (AP, f"{WHEN}.key", "source.ip", "InvalidAddress", f"{WHEN}.values[0]"),
    (AP, f"{WHEN}.key", "destination.port", "InvalidPort", f"{WHEN}.values[1]"),
    (AP, f"{WHEN}.key", "source.serviceAccount", "InvalidName", f"{WHEN}.values[1]"),
    (AP, f"{WHEN}.values", [], "RequiredField", ""),
    (AP, f"{WHEN}.values[0]", "", "RequiredField", ""),
    (AP, "provider", {"name": "opa"}, "ConflictingFields", ""),
    (AP, "action", "DENY", "", ""),
    (ASK, "provider", None, "RequiredField", ""),
    (ASK, "provider.name", "", "RequiredField", ""),
    (ASK, "rules", None, "NoEffect", ""),
]
# fmt: on


@pytest.mark.parametrize(("name", "where", "value", "code", "path"), RULES, ids=lambda one: str(one)[:48])
def test_rule(name, where, value, code, path):
    document = deepcopy(named(name))
    put(document["spec"], where, value)
    problems = decode(document).problems
    if not code:
        assert problems == ()
        return
    expected = "spec" if path == "." else f"spec.{path or where}"
    assert (code, expected) in {(problem.code, problem.origin.path) for problem in problems}, problems
    assert all(problem.code in CODES and problem.message for problem in problems)


def put(spec: dict[str, Any], where: str, value: Any) -> None:
    """`put(spec, "http[0].timeout", "1s")`; None removes."""
    steps = [int(step) if step.isdecimal() else step for step in where.replace("[", ".").replace("]", "").split(".")]
    parent: Any = spec
    for step in steps[:-1]:
        parent = parent[step]
    if value is None:
        del parent[steps[-1]]
    else:
        parent[steps[-1]] = value


def test_an_object_needs_a_name_kubernetes_would_take():
    document = deepcopy(named(VS))
    document["metadata"]["name"] = "../../etc/passwd"
    decoded = decode(document)
    assert {(one.code, one.origin.path) for one in decoded.problems} == {("InvalidName", "metadata.name")}
    assert decoded.value.invalid


def test_a_sidecar_that_says_nothing_is_warned_about():
    document = deepcopy(named(SC))
    document["spec"] = {"workloadSelector": {"labels": {"a": "b"}}}
    assert [(one.code, one.level) for one in decode(document).problems] == [("NoEffect", Level.WARNING)]


def test_weights_that_sum_beyond_what_envoy_takes():
    document = deepcopy(named(VS))
    routes = document["spec"]["http"][0]["route"]
    routes[0]["weight"] = routes[1]["weight"] = 2**31 - 1
    assert decode(document).problems == ()
    routes.append(deepcopy(routes[0]))
    assert [one.code for one in decode(document).problems] == ["InvalidWeight"]


def test_weights_that_only_sum_to_nothing_are_not_called_zero():
    document = deepcopy(named(VS))
    routes = document["spec"]["http"][0]["route"]
    routes[0]["weight"], routes[1]["weight"] = -5, 5
    problems = decode(document).problems
    assert [(one.code, one.origin.path) for one in problems] == [("InvalidValue", "spec.http[0].route[0].weight")]


def test_too_many_port_policies():
    document = deepcopy(named(DR))
    ports = document["spec"]["trafficPolicy"]["portLevelSettings"]
    ports += [{"port": {"number": 20_000 + i}} for i in range(4096)]
    assert [one.code for one in decode(document).problems] == ["InvalidValue"]
