"""DestinationRules: subsets, all balancers, pools, outlier detection, TLS; per destination, subset and port."""

from random import Random  # noqa: TID251 — takes its seed as an argument

from tests.meshes.making import Host, Making
from tests.meshes.words import ROOT, TIERS, VERSIONS, Json, maybe, one_of, some


def add_policies(making: Making) -> None:
    for host in making.hosts:
        if host.has_subsets or making.rng.random() < 0.3:
            add_destination_rule(making, host)
    if making.rng.random() < 0.2:
        everything = Host("*.cluster.local", "", making.namespace(), ())
        add_destination_rule(making, everything)


def add_destination_rule(making: Making, host: Host) -> None:
    rng = making.rng
    namespace = one_of(rng, {host.namespace: 8.0, making.namespace(): 1.0, ROOT: 1.0})
    own = host.short if host.short and namespace == host.namespace and rng.random() < 0.4 else host.name
    subsets = [_subset(rng, host, version) for version in VERSIONS] if host.has_subsets else []
    spec: Json = {
        "host": own,
        **({"subsets": subsets} if subsets else {}),
        **maybe(rng, 0.6, trafficPolicy=policy(rng, host)),
        **maybe(rng, 0.1, exportTo=[rng.choice((".", "*"))]),
        **maybe(rng, 0.05, workloadSelector={"matchLabels": {"tier": rng.choice(TIERS)}}),
    }
    making.add("DestinationRule", namespace, f"dr-{making.number()}", spec=spec)


def _subset(rng: Random, host: Host, version: str) -> Json:
    return {"name": version, "labels": {"version": version}, **maybe(rng, 0.15, trafficPolicy=policy(rng, host))}


def policy(rng: Random, host: Host) -> Json:
    ports = [
        {"port": {"number": port.number}, **_blocks(rng)}
        for port in (some(rng, host.ports, 2) if host.ports and rng.random() < 0.2 else ())
    ]
    return {
        **_blocks(rng),
        **({"portLevelSettings": ports} if ports else {}),
        **maybe(
            rng,
            0.05,
            tunnel={"protocol": rng.choice(("CONNECT", "POST")), "targetHost": "far.example.com", "targetPort": 443},
        ),
        **maybe(rng, 0.05, proxyProtocol={"version": rng.choice(("V1", "V2"))}),
        **maybe(rng, 0.1, retryBudget={"percent": 25, "minRetryConcurrency": 5}),
    }


def _blocks(rng: Random) -> Json:
    return {
        **maybe(rng, 0.5, loadBalancer=_balancer(rng)),
        **maybe(rng, 0.4, connectionPool=pool(rng)),
        **maybe(rng, 0.3, outlierDetection=_outlier(rng)),
        **maybe(rng, 0.15, tls=_tls(rng)),
    }


def _balancer(rng: Random) -> Json:
    simple = ("ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "PASSTHROUGH", "LEAST_CONN", "UNSPECIFIED")
    if rng.random() < 0.4:
        return {"consistentHash": _consistent_hash(rng), **maybe(rng, 0.2, localityLbSetting=_locality(rng))}
    chosen = rng.choice(simple)
    slow = {"duration": "30s", **maybe(rng, 0.5, minimumPercent=20), **maybe(rng, 0.5, aggression=1.5)}
    warmup = maybe(rng, 0.3, warmup=slow) if chosen in {"ROUND_ROBIN", "LEAST_REQUEST"} else {}
    return {"simple": chosen, **warmup, **maybe(rng, 0.3, localityLbSetting=_locality(rng))}


def _consistent_hash(rng: Random) -> Json:
    cookie = {"name": "user", **maybe(rng, 0.6, ttl=rng.choice(("0s", "60s"))), **maybe(rng, 0.5, path="/")}
    key = rng.choice(
        (
            {"httpHeaderName": "x-user"},
            {"httpCookie": cookie},
            {"httpCookie": {**cookie, "attributes": [{"name": "SameSite", "value": "Strict"}]}},
            {"useSourceIp": True},
            {"httpQueryParameterName": "x"},
        )
    )
    ring: Json = rng.choice(
        (
            {},
            {"ringHash": {"minimumRingSize": 64}},
            {"maglev": {}},
            {"maglev": {"tableSize": 251}},
            {"minimumRingSize": 128},
        )
    )
    return {**key, **ring}


def _locality(rng: Random) -> Json:
    return rng.choice(
        (
            {"enabled": False},
            {"enabled": True},
            {"distribute": [{"from": "west/*", "to": {"west/*": 80, "east/*": 20}}]},
            {"failover": [{"from": "west", "to": "east"}]},
            {"failoverPriority": ["topology.kubernetes.io/region", "version=v1"]},
        )
    )


def pool(rng: Random) -> Json:
    keepalive = {"probes": 3, "time": "60s", "interval": "10s"}
    tcp = {
        **maybe(rng, 0.5, maxConnections=rng.choice((1, 100))),
        **maybe(rng, 0.5, connectTimeout=rng.choice(("0.5s", "3s"))),
        **maybe(rng, 0.3, tcpKeepalive=keepalive),
        **maybe(rng, 0.3, maxConnectionDuration="1h"),
        **maybe(rng, 0.3, idleTimeout=rng.choice(("0s", "30s"))),
    }
    upgrade = rng.choice(
        ({"h2UpgradePolicy": rng.choice(("DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"))}, {"useClientProtocol": True}, {})
    )
    http = {
        **maybe(rng, 0.4, http1MaxPendingRequests=100),
        **maybe(rng, 0.4, http2MaxRequests=100),
        **maybe(rng, 0.3, maxRequestsPerConnection=rng.choice((0, 1, 10))),
        **maybe(rng, 0.3, maxRetries=3),
        **maybe(rng, 0.3, maxConcurrentStreams=50),
        **maybe(rng, 0.3, idleTimeout="10s"),
        **maybe(rng, 0.2, http2KeepAlive={"interval": "30s", "timeout": "5s"}),
        **upgrade,
    }
    return {**maybe(rng, 0.7, tcp=tcp), **maybe(rng, 0.6, http=http)}


def _outlier(rng: Random) -> Json:
    split = {"splitExternalLocalOriginErrors": True, "consecutiveLocalOriginFailures": 4}
    return {
        **maybe(rng, 0.5, consecutive5xxErrors=rng.choice((0, 50))),
        **maybe(rng, 0.4, consecutiveGatewayErrors=50),
        **maybe(rng, 0.3, interval="1s"),
        **maybe(rng, 0.3, baseEjectionTime="1s"),
        **maybe(rng, 0.3, maxEjectionPercent=rng.choice((0, 50, 100))),
        **maybe(rng, 0.3, minHealthPercent=rng.choice((0, 50))),
        **maybe(rng, 0.2, **split),
        **maybe(rng, 0.2, outlierDetectionHttpErrorCodes=[500, 503]),
    }


def _tls(rng: Random) -> Json:
    return rng.choice(
        (
            {"mode": "DISABLE"},
            {"mode": "SIMPLE"},
            {"mode": "SIMPLE", "sni": "secure.example.com"},
            {"mode": "SIMPLE", "insecureSkipVerify": True},
            {"mode": "SIMPLE", "sni": "secure.example.com", "subjectAltNames": ["secure.example.com"]},
        )
    )
