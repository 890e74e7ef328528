"""Access logs: one line a request, in Istio's words unless the mesh says otherwise."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2

from controlplane.envoy.any import packed
from controlplane.model.settings import AccessLogEncoding, Settings

_FILE_LOG: Final = "envoy.access_loggers.file"
_NO_ROUTE: Final = "NR"  # response flag: nothing matched

# Istio's default line, field by field.
_TEXT_FIELDS: Final = (
    "[%START_TIME%]",
    '"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%"',
    "%RESPONSE_CODE%",
    "%RESPONSE_FLAGS%",
    "%RESPONSE_CODE_DETAILS%",
    "%CONNECTION_TERMINATION_DETAILS%",
    '"%UPSTREAM_TRANSPORT_FAILURE_REASON%"',
    "%BYTES_RECEIVED%",
    "%BYTES_SENT%",
    "%DURATION%",
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    '"%REQ(X-FORWARDED-FOR)%"',
    '"%REQ(USER-AGENT)%"',
    '"%REQ(X-REQUEST-ID)%"',
    '"%REQ(:AUTHORITY)%"',
    '"%UPSTREAM_HOST%"',
    "%UPSTREAM_CLUSTER_RAW%",
    "%UPSTREAM_LOCAL_ADDRESS%",
    "%DOWNSTREAM_LOCAL_ADDRESS%",
    "%DOWNSTREAM_REMOTE_ADDRESS%",
    "%REQUESTED_SERVER_NAME%",
    "%ROUTE_NAME%",
)
DEFAULT_TEXT: Final = " ".join(_TEXT_FIELDS) + "\n"

DEFAULT_JSON: Final[Mapping[str, Any]] = {
    "start_time": "%START_TIME%",
    "route_name": "%ROUTE_NAME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
}


def access_logs(settings: Settings) -> tuple[Any, ...]:
    """The `AccessLog`s of a chain; none unless the mesh names a file."""
    if not settings.access_log_file:
        return ()
    return (_file(settings.access_log_file, settings.access_log_format, settings.access_log_encoding),)


def listener_logs(settings: Settings) -> tuple[Any, ...]:
    """The `AccessLog`s of a listener: it speaks of connections that no filter chain wanted, and of no others."""
    return tuple(map(_only_unmatched, access_logs(settings)))


def _only_unmatched(log: Any) -> Any:
    message = accesslog_pb2.AccessLog()
    message.CopyFrom(log)
    message.filter.response_flag_filter.flags.append(_NO_ROUTE)
    return message


@lru_cache(maxsize=16)
def _file(path: str, line: str, encoding: AccessLogEncoding) -> Any:
    config = file_pb2.FileAccessLog(path=path)
    if encoding is AccessLogEncoding.JSON:
        config.log_format.json_format.update(_fields(line))
    else:
        config.log_format.text_format_source.inline_string = _line(line)
    return accesslog_pb2.AccessLog(name=_FILE_LOG, typed_config=packed(config))


def _line(given: str) -> str:
    if not given:
        return DEFAULT_TEXT
    return given if given.endswith("\n") else given + "\n"


def _fields(given: str) -> Mapping[str, Any]:
    """What is no JSON object is no format: the default stands in, and whoever reads the settings says so."""
    try:
        fields = json.loads(given) if given else DEFAULT_JSON
    except ValueError:
        return DEFAULT_JSON
    return fields if isinstance(fields, dict) else DEFAULT_JSON
