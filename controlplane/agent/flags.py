"""What the agent can be told, as data: one table for its own parser, for `lateen agent --help` and for docs/cli.md.

Each flag's default is an environment variable where Istio's injection sets one from the downward API, so that in a Pod
nothing needs to be said twice.
"""

from typing import Final, NamedTuple

SUMMARY: Final = "Run beside Envoy: identity, start, drain, health."
ROLES: Final = ("sidecar", "router")
CAPTURE: Final = "capture"
WAIT: Final = "wait"
DRAIN: Final = "drain"
ROLE_HELP: Final = "sidecar (beside an application) or router (a gateway)"
DESCRIPTION: Final = """\
Fetches a certificate for this workload and renews it at half its life, writes what Envoy watches, starts Envoy with
the bootstrap that came with the certificate, answers health probes and metrics, and drains Envoy when it is asked to
end (SIGTERM; a second one cuts the drain short). In a Pod the environment says everything; a flag overrides it.

`lateen agent capture` leads a Pod's traffic through its proxy, `lateen agent wait` returns when the proxy is ready, and
`lateen agent drain` has it ask its callers to leave. Each has a --help of its own."""
EXAMPLES: Final = (
    "lateen agent sidecar",
    "lateen agent router -d run/gateway --pod-name gateway-1 --namespace edge --address 127.9.0.1",
)


class Flag(NamedTuple):
    """`--name METAVAR`. `env` is where the default comes from, before `default`."""

    name: str
    metavar: str
    help: str
    default: str = ""
    env: str = ""
    short: str = ""

    @property
    def option(self) -> str:
        return f"--{self.name}"

    @property
    def key(self) -> str:
        """As an identifier."""
        return self.name.replace("-", "_")

    @property
    def told(self) -> str:
        """Its help, with where its value comes from when it is not used."""
        sources = [f"${self.env}"] if self.env else []
        sources += [self.default] if self.default else []
        return f"{self.help} [{', else '.join(sources)}]" if sources else self.help


FLAGS: Final = (
    Flag(
        "directory",
        "DIR",
        "what is kept: identity/, bootstrap.json, admin.sock; Envoy's working directory",
        "/var/lib/lateen",
        short="-d",
    ),
    Flag("control-plane", "HOST:PORT", "who issues certificates", "lateend.lateen-system.svc:15013", "CA_ADDR"),
    Flag("server-name", "NAME", "the name the control plane's certificate must have", "lateend.lateen-system.svc"),
    Flag("roots", "FILE", "the trust bundle (PEM); followed when it changes", "/var/run/secrets/istio/root-cert.pem"),
    Flag(
        "token-file",
        "FILE",
        "who we are, for the first certificate; read at each use; none: only what is held counts",
        "/var/run/secrets/tokens/istio-token",
    ),
    Flag("certificate-lifetime", "DURATION", "to ask for; the control plane decides", env="SECRET_TTL"),
    Flag("pod-name", "NAME", "of this workload", env="POD_NAME"),
    Flag("namespace", "NS", "of this workload", env="POD_NAMESPACE"),
    Flag("address", "IP", "of this workload: where its application is probed", env="INSTANCE_IP"),
    Flag("service-account", "SA", "claimed in the node's metadata; the certificate decides", env="SERVICE_ACCOUNT"),
    Flag("trust-domain", "NAME", "with an account: another name in the certificate is a warning", env="TRUST_DOMAIN"),
    Flag("domain", "DOMAIN", "last part of the node's id (default: NS.svc.cluster.local)"),
    Flag("cluster", "NAME", "the node's cluster, as Envoy calls it (default: workload.namespace)"),
    Flag("locality", "REGION/ZONE/SUBZONE", "where the node is"),
    Flag("metadata-file", "FILE", "the node's metadata (JSON), over what ISTIO_META_* say"),
    Flag("labels-file", "FILE", "the Pod's labels, as the downward API writes them", "/etc/istio/pod/labels"),
    Flag("proxy-config", "JSON", "Istio's ProxyConfig: drain durations, statusPort, concurrency", "{}", "PROXY_CONFIG"),
    Flag("status-address", "IP", "where the status ports listen (default: everywhere)"),
    Flag("readiness-port", "PORT", "readiness, for the platform", "15021"),
    Flag("status-port", "PORT", "metrics, probes of the application, readiness (default: statusPort, else 15020)"),
    Flag("probes", "JSON", "the application's probes, as injection rewrites them", "{}", "ISTIO_KUBE_APP_PROBERS"),
    Flag("scrape", "JSON", "the application's prometheus.io annotations", "", "ISTIO_PROMETHEUS_ANNOTATIONS"),
    Flag("envoy", "PATH", "the binary", "envoy"),
    Flag("concurrency", "N", "Envoy's worker threads; 0: one per processor (default: concurrency, else 2)"),
    Flag("log-level", "LEVEL", "of Envoy", "warning"),
    Flag("component-log-level", "LEVELS", "of parts of Envoy", "misc:error"),
    Flag("drain-time", "DURATION", "how long to drain (default: terminationDrainDuration, else 5s)"),
    Flag(
        "drain-until-idle",
        "true|false",
        "drain until nobody is connected instead",
        "false",
        "EXIT_ON_ZERO_ACTIVE_CONNECTIONS",
    ),
    Flag("least-drain", "DURATION", "and at least so long", "5s", "MINIMUM_DRAIN_DURATION"),
    Flag("longest-drain", "DURATION", "and at most so long (default: the platform's grace period)"),
)
