"""extensionProviders: who else the mesh may ask, declared in its settings and named by policies."""

from collections.abc import Mapping

from controlplane.model.value import Duration, UInt32, Value


class RequestBody(Value):
    """How much of a request's body an authorizer gets to see."""

    max_request_bytes: UInt32 = 0  # At most so many.
    allow_partial_message: bool | None = None  # Whether larger bodies are cut, instead of refused.
    pack_as_bytes: bool | None = None  # Whether it is sent as bytes instead of text (gRPC).


class ExtAuthzHttp(Value):
    """An external authorizer that is asked over HTTP."""

    service: str = ""  # Its host, or NAMESPACE/host.
    port: UInt32 = 0  # The port of the service.
    timeout: Duration | None = None  # For an answer; default 600s.
    path_prefix: str = ""  # Stands before the path of the request in what it is asked.
    fail_open: bool | None = None  # Whether requests pass when it does not answer; default no.
    clear_route_cache: bool | None = None  # Whether its headers may change where the request goes.
    status_on_error: str = ""  # What callers get when it does not answer; default 403.
    include_headers_in_check: tuple[str, ...] = ()  # Deprecated: includeRequestHeadersInCheck.
    include_request_headers_in_check: tuple[str, ...] = ()  # Headers of the request it gets to see.
    include_additional_headers_in_check: Mapping[str, str] = {}  # Headers added to what it is asked.
    include_request_body_in_check: RequestBody | None = None  # Whether it gets to see the body.
    headers_to_upstream_on_allow: tuple[str, ...] = ()  # Headers of its answer that the application gets.
    headers_to_downstream_on_deny: tuple[str, ...] = ()  # Headers of its answer that a refused caller gets.
    headers_to_downstream_on_allow: tuple[str, ...] = ()  # Headers of its answer that an allowed caller gets.


class ExtAuthzGrpc(Value):
    """An external authorizer that is asked over gRPC."""

    service: str = ""  # Its host, or NAMESPACE/host.
    port: UInt32 = 0  # The port of the service.
    timeout: Duration | None = None  # For an answer; default 600s.
    fail_open: bool | None = None  # Whether requests pass when it does not answer; default no.
    clear_route_cache: bool | None = None  # Whether its headers may change where the request goes.
    status_on_error: str = ""  # What callers get when it does not answer; default 403.
    include_request_body_in_check: RequestBody | None = None  # Whether it gets to see the body.


class ExtensionProvider(Value):
    """Somebody the mesh may ask."""

    name: str = ""  # What policies call it.
    envoy_ext_authz_http: ExtAuthzHttp | None = None  # Decides about requests, over HTTP.
    envoy_ext_authz_grpc: ExtAuthzGrpc | None = None  # Decides about requests and connections, over gRPC.

    @property
    def ext_authz(self) -> ExtAuthzHttp | ExtAuthzGrpc | None:
        """How it decides."""
        return self.envoy_ext_authz_http or self.envoy_ext_authz_grpc
