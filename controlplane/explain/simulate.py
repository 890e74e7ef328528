"""Follow one call through one proxy's configuration, step by step, as Envoy would.

    simulate(resources, call) -> Outcome

Pure: no clock, no network, no chance. Where Envoy draws by weight, every candidate is in the outcome.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from controlplane.explain import (
    action,
    cluster,
    doubts,
    filterchain,
    httpfilters,
    judging,
    listener,
    listenerfilters,
    network,
    rbac,
    route,
    upgrade,
    upstreamtls,
    virtualhost,
)
from controlplane.explain.call import Call, Speaks
from controlplane.explain.headers import is_grpc, received
from controlplane.explain.judging import Judgement
from controlplane.explain.origins import in_metadata
from controlplane.explain.outcome import (
    Connection,
    Destination,
    Endpoint,
    Failure,
    Outcome,
    Stage,
    Step,
    Verdict,
)
from controlplane.explain.request import Rejection, Request, arrive
from controlplane.explain.resources import Origins, Resources
from controlplane.model.problem import Origin
from controlplane.snapshot.resource import Ref
from controlplane.snapshot.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST

_NO_ROUTE = Failure("NR", 404, "route_not_found")
_NOT_HTTP1 = Failure("DPE", 400, "http1.codec_error")
_NO_CHAIN = Failure("NR", 0, "filter_chain_not_found")
# RouteAction.cluster_not_found_response_code
_NO_CLUSTER_STATUS = (503, 404, 500)
_GRPC_OF_HTTP = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
_GRPC_UNKNOWN = 2


def simulate(resources: Resources, call: Call, origins: Origins | None = None) -> Outcome:
    """What Envoy with these resources does with this call, and why."""
    return _Walk(resources, call, origins or {}).connect()


class _Walk:
    """One call on its way. Each stage notes its step, then ends the walk or goes on to the next stage."""

    def __init__(self, resources: Resources, call: Call, origins: Origins) -> None:
        self._resources = resources
        self._call = call
        self._is_grpc = is_grpc(received(call.headers))
        self._origins = origins
        self._steps: list[Step] = []
        self._doubts: list[str] = []

    # --- the connection ---------------------------------------------------------------------------------------

    def connect(self) -> Outcome:
        socket = self._call.captured_at or self._call.address
        found = listener.at_socket(self._resources.listeners, socket)
        if found is None:
            self._note(Stage.LISTENER, None, f"no listener is bound to {socket}")
            return self._end(Verdict.REFUSED)
        source = self._call.source
        connection = Connection(local=socket, remote=source, direct_remote=source)
        self._note_listener(found, f"bound to {socket}")
        return self._inspect(found, connection, handed_over=False)

    def _inspect(self, current: Any, connection: Connection, *, handed_over: bool) -> Outcome:
        self._doubts += doubts.of_listener(current)
        seen = listenerfilters.inspect(current, self._call, connection)
        if isinstance(seen, listenerfilters.Stopped):
            self._note(Stage.LISTENER_FILTERS, None, seen.why)
            return self._end(Verdict.WAITING if seen.waits else Verdict.CLOSED)
        if not handed_over and seen.restored and listener.hands_over(current):
            owner = listener.at_original_destination(self._resources.listeners, seen.local)
            if owner is not None and owner is not current:
                self._note_listener(owner, f"handed over: the original destination is {seen.local}")
                return self._inspect(owner, seen, handed_over=True)
        return self._choose_chain(current, seen)

    def _choose_chain(self, current: Any, connection: Connection) -> Outcome:
        chain = filterchain.choose(current, connection)
        if chain is None:
            self._note(Stage.FILTER_CHAIN, None, f"none of {len(current.filter_chains)} takes {_seen(connection)}")
            return self._end(Verdict.CLOSED, _NO_CHAIN)
        name = filterchain.name_of(current, chain)
        self._note(Stage.FILTER_CHAIN, name, f"the most specific for {_seen(connection)}", message=chain)
        self._doubts += doubts.of_network(chain)
        connection = msgspec.structs.replace(connection, state=network.state_of(chain))
        context = network.tls_context(chain)
        return self._open_tls(chain, context, connection) if context else self._read(chain, connection)

    def _open_tls(self, chain: Any, context: Any, connection: Connection) -> Outcome:
        missing = [n for n in network.secret_names(context) if n not in self._resources.secrets]
        if missing:
            self._note(Stage.TLS, None, f"the proxy lacks the secret {missing[0]}")
            return self._end(Verdict.CLOSED)
        if self._call.tls is None:
            return self._refuse_plaintext()
        shows = self._call.tls.shows_certificate
        if context.require_client_certificate.value and not shows:
            self._note(Stage.TLS, None, "a client certificate is required and none was presented")
            return self._end(Verdict.CLOSED)
        if shows and not network.takes_identity(context, self._call.tls.names):
            who = ", ".join(self._call.tls.names) or "the client's certificate"
            self._note(Stage.TLS, None, f"{who} has none of the names that are taken")
            return self._end(Verdict.CLOSED)
        self._note(Stage.TLS, "terminated", "the chain has a TLS context")
        shown = self._call.tls.names if network.asks_for_certificate(context) else ()
        return self._read(chain, msgspec.structs.replace(connection, terminated=True, names=shown))

    def _refuse_plaintext(self) -> Outcome:
        self._note(Stage.TLS, None, "the chain expects TLS and the client speaks plaintext")
        silent = self._call.speaks is Speaks.NOTHING
        return self._end(Verdict.WAITING if silent else Verdict.CLOSED)

    def _read(self, chain: Any, connection: Connection) -> Outcome:
        if (manager := network.http_manager(chain)) is not None:
            return self._serve(chain, manager, connection)
        if (proxy := network.tcp_proxy(chain)) is not None:
            return self._proxy(chain, proxy, connection)
        self._note(Stage.NETWORK_FILTER, None, "the chain has no network filter that ends it")
        return self._end(Verdict.CLOSED)

    def _proxy(self, chain: Any, proxy: Any, connection: Connection) -> Outcome:
        if refusal := self._refusal_of_bytes(chain, connection):
            self._note(Stage.NETWORK_FILTER, None, refusal.why, origins=refusal.origins)
            return self._end(Verdict.CLOSED, refusal.failure)
        self._note(Stage.NETWORK_FILTER, "tcp_proxy", "bytes go on as they are", message=proxy)
        targets = network.tcp_targets(chain, proxy, connection.server_name)
        request = Request("", "", "", "", {})
        return self._draw(targets, connection, request, tcp=True)

    def _refusal_of_bytes(self, chain: Any, connection: Connection) -> rbac.Refusal | None:
        """Rules are asked when the first bytes come: nobody is refused who says nothing."""
        if self._call.speaks is Speaks.NOTHING:
            return None
        for one in chain.filters:
            if one.typed_config.type_url == rbac.NETWORK:
                found = rbac.judge(rbac.NETWORK, one.typed_config.value, rbac.Subject(connection))
                if found.refusal is not None:
                    return found.refusal
        return None

    # --- the request ------------------------------------------------------------------------------------------

    def _serve(self, chain: Any, manager: Any, connection: Connection) -> Outcome:
        self._note(Stage.NETWORK_FILTER, "http_connection_manager", "requests are routed", message=manager)
        terminated = network.tls_context(chain) is not None
        if self._call.speaks is Speaks.NOTHING and (terminated or not self._call.tls):
            self._note(Stage.REQUEST, None, "no request arrives")
            return self._end(Verdict.WAITING)
        if reason := self._language_barrier(chain):
            self._note(Stage.REQUEST, None, "the client does not speak what ALPN settled on")
            return self._end(Verdict.ANSWERED if reason.status else Verdict.CLOSED, reason, status=reason.status)
        request = arrive(manager, self._call, connection, terminated=terminated)
        if isinstance(request, Rejection):
            self._note(Stage.REQUEST, None, request.failure.details)
            return self._reject(request)
        request = self._with_certificate(chain, request)
        self._note(Stage.REQUEST, f"{request.method} {request.authority}{request.path}", "as routing sees it")
        judgement = judging.judge(manager, request, self._call, connection)
        self._doubts += judgement.doubts
        return self._find_host(manager, connection, judgement)

    def _with_certificate(self, chain: Any, request: Request) -> Request:
        context, tls = network.tls_context(chain), self._call.tls
        if not (context and tls and tls.shows_certificate and network.asks_for_certificate(context)):
            return request
        validated = network.validates(context)
        return msgspec.structs.replace(request, presented_certificate=True, validated_certificate=validated)

    def _language_barrier(self, chain: Any) -> Failure | None:
        """A client that does not speak what the TLS handshake settled on."""
        context, tls = network.tls_context(chain), self._call.tls
        agreed = network.negotiated(context, tls.alpn) if context and tls else ""
        if agreed == "h2" and self._call.speaks is not Speaks.HTTP2:
            return Failure("DPE", 0, "")
        return _NOT_HTTP1 if agreed not in {"", "h2"} and self._call.speaks is Speaks.HTTP2 else None

    def _reject(self, rejection: Rejection) -> Outcome:
        """Protocol errors are answered by the codec, which knows nothing of gRPC."""
        failure = rejection.failure
        if failure.flag == "DPE":
            verdict = Verdict.ANSWERED if failure.status else Verdict.CLOSED
            return self._end(verdict, failure, status=failure.status)
        return self._fail(failure, location=rejection.location)

    def _find_host(self, manager: Any, connection: Connection, judgement: Judgement) -> Outcome:
        request = judgement.routed
        config = self._route_configuration(manager)
        if config is None:
            return self._refuse(judgement) or self._fail(_NO_ROUTE)
        host, domain = virtualhost.choose(config, request)
        if host is None:
            count = len(config.virtual_hosts)
            self._note(Stage.VIRTUAL_HOST, None, f"none of {count} has a domain for {request.authority!r}")
            return self._refuse(judgement) or self._fail(_NO_ROUTE)
        # A virtual host travels as `<route configuration>/<host>`; it may be called so already.
        origins = self._of(VIRTUAL_HOST, host.name) or self._of(VIRTUAL_HOST, f"{config.name}/{host.name}")
        self._note(Stage.VIRTUAL_HOST, host.name, f"domain {domain}", origins=origins, message=host)
        if virtualhost.needs_tls(host, request):
            self._note(Stage.ROUTE, "require_tls", "the virtual host wants TLS")
            return (
                self._refuse_upgrade(manager, None, request)
                or self._refuse(judgement)
                or self._answer(301, location=action.tls_location(judgement.request))
            )
        return self._find_route(manager, connection, judgement, config, host)

    def _refuse(self, judgement: Judgement) -> Outcome | None:
        """Whoever judges a request is asked before routes do anything, and after they were looked at."""
        if judgement.failure is None:
            return None
        self._note(Stage.HTTP_FILTER, judgement.filter, judgement.why, origins=judgement.origins)
        return self._fail(judgement.failure)

    def _route_configuration(self, manager: Any) -> Any | None:
        if manager.HasField("route_config"):
            config, name = manager.route_config, manager.route_config.name
        else:
            name = manager.rds.route_config_name
            config = self._resources.routes.get(name)
        why = f"has {len(config.virtual_hosts)} virtual hosts" if config else f"{name!r} is not there"
        found = name if config is not None else None
        self._note(Stage.ROUTE_CONFIGURATION, found, why, origins=self._of(ROUTE, name), message=config)
        return config

    def _find_route(
        self, manager: Any, connection: Connection, judgement: Judgement, config: Any, host: Any
    ) -> Outcome:
        chosen = route.choose(host, config, judgement.routed)
        self._doubts += doubts.of_routes(host, len(chosen.refusals))
        if chosen.route is None:
            why = f"none of {len(host.routes)} takes the request"
            self._note(Stage.ROUTE, None, why, tried=chosen.refusals)
            return self._refuse(judgement) or self._fail(_NO_ROUTE)
        found = chosen.route
        name, why = route.name_of(found, chosen.index), f"{route.wanted_path(found.match)} fits"
        self._note(Stage.ROUTE, name, why, origins=in_metadata(found), message=found, tried=chosen.refusals)
        if refused := self._refuse_upgrade(manager, found, judgement.routed) or self._refuse(judgement):
            return refused
        request = judgement.request
        place = httpfilters.Place(found, host, config)
        self._doubts += doubts.of_filters(manager, place)
        if early := httpfilters.answer(manager, place, request):
            self._note(Stage.HTTP_FILTER, early.filter, early.failure.details)
            return self._fail(early.failure, grpc_status=early.grpc_status)
        return self._act(found, connection, request)

    def _refuse_upgrade(self, manager: Any, found: Any | None, request: Request) -> Outcome | None:
        protocol = upgrade.wanted(request.headers)
        routed = found.route if found is not None and found.HasField("route") else None
        if not protocol or upgrade.is_allowed(protocol, manager, routed):
            return None
        self._note(Stage.HTTP_FILTER, None, f"an upgrade to {protocol} is not allowed")
        return self._fail(upgrade.FAILED)

    def _act(self, found: Any, connection: Connection, request: Request) -> Outcome:
        kind = found.WhichOneof("action")
        if kind == "redirect":
            to = action.location(found.match, found.redirect, request)
            return self._answer(action.redirect_status(found.redirect), location=to)
        if kind == "direct_response":
            body = found.direct_response.body
            content = body.inline_bytes or body.inline_string.encode()
            status = found.direct_response.status
            # Envoy gives its "redirect" a Location wherever the status wants one: here, the place that was asked for.
            to = action.location(found.match, found.redirect, request) if action.has_location(status) else ""
            return self._answer(status, body=content, location=to)
        self._doubts += doubts.of_action(found.route)
        targets = action.targets(found.route, request)
        return self._draw(targets, connection, request, found=found)

    # --- where it goes ----------------------------------------------------------------------------------------

    def _draw(
        self,
        targets: Sequence[action.Target],
        connection: Connection,
        request: Request,
        found: Any | None = None,
        *,
        tcp: bool = False,
    ) -> Outcome:
        total = sum(target.weight for target in targets)
        destinations = []
        for target in targets:
            endpoints, failure = self._endpoints(target, connection, request, found)
            sent = _sent(found, target, request)
            destinations.append(
                Destination(target.cluster, target.weight, total, endpoints, failure, sent.authority, sent.path)
            )
        return self._close_or_forward(tuple(destinations), tcp=tcp)

    def _close_or_forward(self, destinations: tuple[Destination, ...], *, tcp: bool) -> Outcome:
        failures = [destination.failure for destination in destinations]
        first = failures[0] if failures else None
        if not all(failures) or first is None:
            return self._end(Verdict.FORWARDED, destinations=destinations)
        if tcp:
            return self._end(Verdict.CLOSED, first, destinations=destinations)
        return self._fail(first, destinations=destinations)

    def _endpoints(
        self, target: action.Target, connection: Connection, request: Request, found: Any | None
    ) -> tuple[tuple[Endpoint, ...], Failure | None]:
        chosen = self._resources.clusters.get(target.cluster)
        if chosen is None:
            self._note(Stage.CLUSTER, None, f"{target.cluster!r} is not there")
            code = found.route.cluster_not_found_response_code if found is not None else 0
            return (), Failure("NC", _NO_CLUSTER_STATUS[code], cluster.NO_CLUSTER.details)
        self._doubts += doubts.of_cluster(chosen)
        by = "the TCP proxy" if found is None else "the route"
        why = f"weight {target.weight}" if target.entry is not None else f"named by {by}"
        self._note(Stage.CLUSTER, chosen.name, why, origins=self._of(CLUSTER, chosen.name), message=chosen)
        endpoints, why = self._usable(chosen, connection, request)
        origins = self._of(ENDPOINT, chosen.eds_cluster_config.service_name or chosen.name)
        listed = ", ".join(endpoint.address for endpoint in endpoints) or None
        self._note(Stage.ENDPOINTS, listed, why, origins=origins)
        return endpoints, None if endpoints else cluster.NO_ENDPOINT

    def _usable(self, chosen: Any, connection: Connection, request: Request) -> tuple[tuple[Endpoint, ...], str]:
        if cluster.is_original_destination(chosen):
            endpoints = self._secured(
                chosen, connection, cluster.original_destination(chosen, connection, request.headers)
            )
            return endpoints, "the original destination" if endpoints else "the original destination is not known"
        if cluster.is_by_name(chosen):
            endpoints = self._secured(chosen, connection, cluster.by_name(chosen, request, connection))
            return endpoints, "its name is resolved when the call comes"
        assignment = cluster.assignment_of(chosen, self._resources.endpoints)
        if assignment is None:
            return (), "no endpoints were sent for it"
        count = sum(len(locality.lb_endpoints) for locality in assignment.endpoints)
        endpoints = cluster.candidates(chosen, assignment, connection.state)
        return endpoints, f"{len(endpoints)} of {count} endpoints may get it"

    @staticmethod
    def _secured(chosen: Any, connection: Connection, endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        """Endpoints nobody sent: nothing is known of them."""
        secured = upstreamtls.secured(chosen, None, connection.state)
        return tuple(msgspec.structs.replace(endpoint, secured=secured) for endpoint in endpoints)

    # --- the record -------------------------------------------------------------------------------------------

    def _note(self, stage: Stage, found: str | None, why: str, **more: Any) -> None:
        self._steps.append(Step(stage, found, why, **more))

    def _note_listener(self, found: Any, why: str) -> None:
        self._note(Stage.LISTENER, found.name, why, origins=self._of(LISTENER, found.name), message=found)

    def _of(self, type_url: str, name: str) -> tuple[Origin, ...]:
        return self._origins.get(Ref(type_url, name), ())

    def _answer(
        self, status: int, failure: Failure | None = None, *, grpc_status: int | None = None, **fields: Any
    ) -> Outcome:
        """To a gRPC caller everything is a gRPC error inside a 200, even a redirect."""
        if not self._is_grpc:
            return self._end(Verdict.ANSWERED, failure, status=status, **fields)
        code = _GRPC_OF_HTTP.get(status, _GRPC_UNKNOWN) if grpc_status is None else grpc_status
        return self._end(Verdict.ANSWERED, failure, status=200, grpc_status=code, **{**fields, "body": b""})

    def _fail(self, failure: Failure, **fields: Any) -> Outcome:
        return self._answer(failure.status, failure, **fields)

    def _end(self, verdict: Verdict, failure: Failure | None = None, **fields: Any) -> Outcome:
        unique = tuple(dict.fromkeys(self._doubts))
        return Outcome(verdict=verdict, failure=failure, steps=tuple(self._steps), doubts=unique, **fields)


def _seen(connection: Connection) -> str:
    """What filter chains are matched against, in words."""
    parts = [str(connection.local), connection.transport_protocol]
    if connection.server_name:
        parts.append(f"SNI {connection.server_name}")
    if connection.application_protocols:
        parts.append(f"application protocols {', '.join(connection.application_protocols)}")
    return ", ".join([*parts, f"from {connection.remote}"])


def _sent(found: Any | None, target: action.Target, request: Request) -> Request:
    """The request as the upstream sees it."""
    if found is None:
        return request
    path = action.upstream_path(found.match, found.route, request)
    return request.moved(action.upstream_authority(found.route, target.entry, request), path)
