"""Paths that servers answer somewhere: what somebody tries who does not know what is here."""

from collections.abc import Iterator
from typing import Final

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "BREW")

_ENVOY: Final = """
/ /certs /clusters /config_dump /config_dump?include_eds /contention /cpuprofiler /drain_listeners /healthcheck/fail
/healthcheck/ok /heapprofiler /heap_dump /allocprofiler /help /hot_restart_version /init_dump /listeners /logging
/memory /peak_memory /quitquitquit /ready /reopen_logs /reset_counters /runtime /runtime_modify /server_info /stats
/stats/prometheus /stats/recentlookups /stats?format=prometheus /tap
"""
_ISTIO: Final = """
/debug /debug/ /debug/adsz /debug/authorizationz /debug/cachez /debug/config_dump /debug/configz /debug/connections
/debug/edsz /debug/endpointz /debug/force_disconnect /debug/inject /debug/instancesz /debug/list /debug/mcsz /debug/mesh
/debug/ndsz /debug/networkz /debug/push_status /debug/pushcontext /debug/registryz /debug/resourcesz /debug/sidecarz
/debug/syncz /debug/telemetryz /inject /inject/ /validate /validate/ /httpsReady /version /monitoring /scopej /signalj
/stats/envoy /app-health/x/livez /app-health/istio-proxy/readyz /app-lifecycle/x/prestopz /healthz/ready /localhost
/istio.v1.auth.IstioCertificateService/CreateCertificate
"""
_COMMON: Final = """
/admin /api /api/v1 /apis /.env /.git/config /.well-known/jwks.json /.well-known/openid-configuration /cgi-bin/ /console
/dashboard /debug/pprof /debug/pprof/ /debug/pprof/heap /debug/pprof/profile /debug/vars /docs /env /favicon.ico /graphql
/health /healthz /healthz/live /info /jmx /live /livez /login /metrics /openapi.json /ping /prometheus /readyz /reload
/robots.txt /root /shutdown /status /swagger.json /sys /token /trace /v1 /v1/ /v2 /v1/certificates /v1/reports /v1/roots
/v1/token /v1/certificate /v1/identities /v1/nodes /v1/secrets /v1/config /ws
"""
_OURS: Final = """
/proxies /config /config?proxy=x /problems /version /mesh /objects /ca /ca/begin /ca/switch /ca/finish /ca/abandon
/ca/token /secrets
/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources
"""

PATHS: Final = tuple(dict.fromkeys((_ENVOY + _ISTIO + _COMMON + _OURS).split()))


def spellings(path: str) -> Iterator[str]:
    """Others for a path; none of them is the path."""
    yield path + "/"
    yield path + "//"
    yield path + "?x=1"
    yield path + "?"
    yield path + ";x"
    yield path + "%00"
    yield path + "%20"
    yield path + ".json"
    yield path.upper()
    yield path.replace("/", "//", 1)
    yield "/." + path
    yield "/x/.." + path
    yield path.replace("/", "/%2e/", 1)
    yield path[:-1] + f"%{ord(path[-1]):02x}"
    yield "//localhost" + path
