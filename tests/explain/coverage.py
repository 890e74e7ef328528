"""What a random run reached. A comparison that never saw a redirect proves nothing about redirects."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from controlplane.explain import Call, Outcome, Speaks, Stage, Verdict
from controlplane.explain.call import split_port

# Every one of these must be reached, or the run counts as failed.
REQUIRED = frozenset(
    {
        *(f"path: {kind}" for kind in ("prefix", "path", "path_separated_prefix", "safe_regex")),
        *(f"header: {kind}" for kind in ("exact", "prefix", "suffix", "contains", "safe_regex")),
        *("header: present", "header: range", "header: invert", "header: missing as empty", "header: pseudo"),
        *("query: string", "query: present", "case-insensitive path", "gRPC only", "client certificate match"),
        *(f"winner: {n}" for n in ("1st", "2nd", "3rd", "4th or later", "none")),
        *(f"domain: {kind}" for kind in ("exact", "suffix", "prefix", "any", "with port", "none")),
        *("host with port", "redirect", "direct response", "require TLS", "weighted clusters", "cluster by header"),
        *("404", "503", "no cluster", "no endpoint", "fault", "CORS preflight", "upgrade refused"),
        *("TLS terminated", "TLS passed on", "SNI", "sniffed HTTP", "chain: default", "chain: none"),
        *("tcp", "http/1.0", "http/1.1", "h2", "bytes", "nothing", "PROXY header", "handed over", "passthrough"),
        *(f"verdict: {verdict}" for verdict in Verdict),
    }
)


# Of random meshes: what their manifests can ask for.
REQUIRED_OF_MESHES = frozenset(
    {
        *(f"path: {kind}" for kind in ("prefix", "path", "safe_regex")),
        *(f"header: {kind}" for kind in ("exact", "prefix", "safe_regex", "pseudo", "invert", "missing as empty")),
        *(f"winner: {n}" for n in ("1st", "2nd", "3rd", "4th or later", "none")),
        *(f"domain: {kind}" for kind in ("exact", "suffix", "any", "with port")),  # each table has a host for any other
        *("query: string", "host with port", "redirect", "direct response", "require TLS", "weighted clusters"),
        *(
            "subset",
            "404",
            "503",
            "no cluster",
            "no endpoint",
            "TLS terminated",
            "TLS passed on",
            "SNI",
            "sniffed HTTP",
        ),
        *("chain: none", "tcp", "http/1.0", "http/1.1", "h2", "bytes", "nothing", "handed over", "passthrough"),
        *("identity taken", "identity refused", "plain text refused"),
        *(f"endpoints called: {how}" for how in ("plain", "istio", "istio-http/1.1/istio", "istio-h2/istio/h2")),
        *(f"verdict: {verdict}" for verdict in Verdict),
    }
)
# What even a few calls must reach.
REQUIRED_OF_FEW = frozenset(
    {"404", "503", "tcp", "handed over", "passthrough", "winner: 1st", "winner: none", "h2", "endpoints called: istio"}
)


class Coverage:
    """Counts by feature."""

    def __init__(self) -> None:
        self.calls = 0
        self.negative = 0
        self.doubtful = 0
        self.reached: Counter[str] = Counter()

    def see(self, said: Outcome, call: Call) -> None:
        self.calls += 1
        self.negative += said.failure is not None or said.verdict not in {Verdict.FORWARDED, Verdict.ANSWERED}
        self.doubtful += bool(said.doubts)
        self.reached.update(set(_features(said, call)))

    @property
    def negative_share(self) -> float:
        return self.negative / self.calls

    def missing(self, required: frozenset[str] = REQUIRED) -> list[str]:
        return sorted(required - self.reached.keys())

    def table(self) -> str:
        """For people: what was reached, how often."""
        head = f"{self.calls} calls, {self.negative_share:.0%} negative"
        return "\n".join([head, *(f"{count:7d}  {name}" for name, count in sorted(self.reached.items()))])


def _features(said: Outcome, call: Call) -> Iterator[str]:
    yield f"verdict: {said.verdict}"
    yield str(call.speaks)
    yield from _of_connection(said, call)
    if (step := said.step(Stage.VIRTUAL_HOST)) is not None:
        yield from _of_domain(step.why.removeprefix("domain ") if step.found else "none")
    if (step := said.step(Stage.ROUTE)) is not None:
        yield from _of_route(said, step)
    yield from _of_end(said, call)


def _of_connection(said: Outcome, call: Call) -> Iterator[str]:
    if call.proxy_header:
        yield "PROXY header"
    if sum(step.stage is Stage.LISTENER for step in said.steps) > 1:
        yield "handed over"
    chain = said.step(Stage.FILTER_CHAIN)
    if chain and (chain.found in {None, "default"}):
        yield f"chain: {chain.found or 'none'}".lower()
    if chain and chain.message is not None:
        match = chain.message.filter_chain_match
        yield from (["SNI"] if match.server_names else [])
        yield from (["sniffed HTTP"] if match.application_protocols and not call.tls else [])
    if said.name(Stage.TLS):
        yield "TLS terminated"
        yield from (["identity taken"] if call.tls and call.tls.names else [])
    if "names that are taken" in said.ended_at.why:
        yield "identity refused"
    if "speaks plaintext" in said.ended_at.why:
        yield "plain text refused"
    if said.name(Stage.NETWORK_FILTER) == "tcp_proxy":
        yield "tcp"
        yield from (["TLS passed on"] if call.tls and not said.name(Stage.TLS) else [])


def _of_domain(domain: str) -> Iterator[str]:
    if domain in {"*", "none"}:
        yield f"domain: {'any' if domain == '*' else 'none'}"
        return
    kind = "suffix" if domain.startswith("*") else "prefix" if domain.endswith("*") else "exact"
    yield f"domain: {kind}"
    if split_port(domain)[1]:
        yield "domain: with port"


def _of_route(said: Outcome, step: Any) -> Iterator[str]:
    if step.found == "require_tls":
        yield "require TLS"
        return
    places = ("1st", "2nd", "3rd", "4th or later")
    yield f"winner: {places[min(len(step.tried), 3)] if step.found else 'none'}"
    if step.message is not None:
        yield from _of_match(step.message.match)
        yield from _of_action(step.message)


def _of_match(match: Any) -> Iterator[str]:
    """Of the winner: its conditions were all asked and all held."""
    yield f"path: {match.WhichOneof('path_specifier')}"
    if match.HasField("case_sensitive") and not match.case_sensitive.value:
        yield "case-insensitive path"
    if match.HasField("grpc"):
        yield "gRPC only"
    if match.HasField("tls_context"):
        yield "client certificate match"
    for header in match.headers:
        yield from _of_header(header)
    for parameter in match.query_parameters:
        yield f"query: {'string' if parameter.HasField('string_match') else 'present'}"


def _of_header(header: Any) -> Iterator[str]:
    kind = header.WhichOneof("header_match_specifier") or "present_match"
    string = header.string_match.WhichOneof("match_pattern")
    yield f"header: {string if kind == 'string_match' else kind.removesuffix('_match')}"
    yield from (["header: invert"] if header.invert_match else [])
    yield from (["header: missing as empty"] if header.treat_missing_header_as_empty else [])
    yield from (["header: pseudo"] if header.name.startswith(":") or header.name == "host" else [])


def _of_action(route: Any) -> Iterator[str]:
    kind = route.WhichOneof("action")
    if kind != "route":
        yield kind.replace("_", " ")
        return
    specifier = route.route.WhichOneof("cluster_specifier")
    names = {"weighted_clusters": "weighted clusters", "cluster_header": "cluster by header"}
    yield names.get(specifier, "one cluster")


def _of_end(said: Outcome, call: Call) -> Iterator[str]:
    if call.speaks is not Speaks.BYTES and split_port(call.authority)[1]:
        yield "host with port"
    if said.status in {404, 503}:
        yield str(said.status)
    details = {
        "cluster_not_found": "no cluster",
        "no_healthy_upstream": "no endpoint",
        "fault_filter_abort": "fault",
        "cors_response": "CORS preflight",
        "upgrade_failed": "upgrade refused",
    }
    if any(destination.subset for destination in said.destinations):
        yield "subset"
    if said.failure and said.failure.details in details:
        yield details[said.failure.details]
    for secured in (endpoint.secured for one in said.destinations for endpoint in one.endpoints):
        yield f"endpoints called: {'/'.join(secured.alpn) or 'TLS'}" if secured.tls else "endpoints called: plain"
    if any("original destination" in step.why for step in said.steps if step.stage is Stage.ENDPOINTS and step.found):
        yield "passthrough"
