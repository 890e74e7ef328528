"""Envoy's substitution commands: `%PROTOCOL%`, `%REQ(x-id?x-other):20%`, `%START_TIME(%Y-%m)%`.

Users write them in header values and in the access log's format. Envoy reads them when it takes a resource, and one it
does not know makes it refuse the resource as a whole: with a log format every listener there is. So they are read here
first, by the same rules. The tables are those of Envoy 1.40, which a test asks about each of them.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import re2

_COMMAND = re2.compile(r"%([A-Z0-9_]+)(?:\((.*?)\))?(?::([0-9]+))?%")
_HEADER = re2.compile(r":?[!#$%&'*+\-.^_`|~0-9A-Za-z]*")

# Take neither an argument nor a length.
PLAIN: Final = frozenset(
    """
    ACCESS_LOG_TYPE BYTES_RECEIVED BYTES_RETRANSMITTED BYTES_SENT CONNECTION_ID
    CONNECTION_TERMINATION_DETAILS CUSTOM_FLAGS DOWNSTREAM_CX_RTT
    DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT
    DOWNSTREAM_DETECTED_CLOSE_TYPE DOWNSTREAM_DIRECT_LOCAL_ADDRESS
    DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID DOWNSTREAM_DIRECT_LOCAL_PORT
    DOWNSTREAM_DIRECT_REMOTE_ADDRESS DOWNSTREAM_DIRECT_REMOTE_PORT DOWNSTREAM_HANDSHAKE_DURATION
    DOWNSTREAM_HEADER_BYTES_RECEIVED DOWNSTREAM_HEADER_BYTES_SENT DOWNSTREAM_LOCAL_ADDRESS
    DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID DOWNSTREAM_LOCAL_CLOSE_REASON DOWNSTREAM_LOCAL_DNS_SAN
    DOWNSTREAM_LOCAL_EMAIL_SAN DOWNSTREAM_LOCAL_IP_SAN DOWNSTREAM_LOCAL_OTHERNAME_SAN DOWNSTREAM_LOCAL_PORT
    DOWNSTREAM_LOCAL_SUBJECT DOWNSTREAM_LOCAL_URI_SAN DOWNSTREAM_PEER_CERT
    DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1 DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256
    DOWNSTREAM_PEER_CHAIN_SERIALS DOWNSTREAM_PEER_DNS_SAN DOWNSTREAM_PEER_EMAIL_SAN
    DOWNSTREAM_PEER_FINGERPRINT_1 DOWNSTREAM_PEER_FINGERPRINT_256 DOWNSTREAM_PEER_IP_SAN
    DOWNSTREAM_PEER_ISSUER DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256 DOWNSTREAM_PEER_ISSUER_SERIAL
    DOWNSTREAM_PEER_OTHERNAME_SAN DOWNSTREAM_PEER_SERIAL DOWNSTREAM_PEER_SUBJECT DOWNSTREAM_PEER_URI_SAN
    DOWNSTREAM_REMOTE_ADDRESS DOWNSTREAM_REMOTE_PORT DOWNSTREAM_TLS_CIPHER DOWNSTREAM_TLS_GROUP
    DOWNSTREAM_TLS_SESSION_ID DOWNSTREAM_TLS_VERSION DOWNSTREAM_TRANSPORT_FAILURE_REASON
    DOWNSTREAM_WIRE_BYTES_RECEIVED DOWNSTREAM_WIRE_BYTES_SENT DURATION FILTER_CHAIN_NAME GRPC_STATUS_NUMBER
    HOSTNAME LISTENER_NAME LOCAL_REPLY_BODY PACKETS_RETRANSMITTED PROTOCOL REQUEST_DURATION
    REQUEST_HEADERS_BYTES REQUEST_TX_DURATION RESPONSE_CODE RESPONSE_DURATION RESPONSE_FLAGS
    RESPONSE_FLAGS_LONG RESPONSE_HEADERS_BYTES RESPONSE_TRAILERS_BYTES RESPONSE_TX_DURATION
    ROUNDTRIP_DURATION ROUTE_NAME ROUTE_RESOLUTION_COUNT ROUTE_RESOLUTION_TIME_US SPAN_ID STREAM_ID
    TLS_JA3_FINGERPRINT TLS_JA4_FINGERPRINT TRACE_ID UNIQUE_ID UPSTREAM_CLUSTER UPSTREAM_CLUSTER_RAW
    UPSTREAM_CONNECTION_ID UPSTREAM_CONNECTION_IDS_ATTEMPTED UPSTREAM_CONNECTION_POOL_READY_DURATION
    UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT
    UPSTREAM_DETECTED_CLOSE_TYPE UPSTREAM_HEADER_BYTES_RECEIVED UPSTREAM_HEADER_BYTES_SENT UPSTREAM_HOST
    UPSTREAM_HOSTS_ATTEMPTED UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT UPSTREAM_HOST_NAME
    UPSTREAM_HOST_NAMES_ATTEMPTED UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT UPSTREAM_HOST_NAME_WITHOUT_PORT
    UPSTREAM_LOCAL_ADDRESS UPSTREAM_LOCAL_CLOSE_REASON UPSTREAM_LOCAL_DNS_SAN UPSTREAM_LOCAL_IP_SAN
    UPSTREAM_LOCAL_PORT UPSTREAM_LOCAL_URI_SAN UPSTREAM_PEER_CERT UPSTREAM_PEER_DNS_SAN UPSTREAM_PEER_IP_SAN
    UPSTREAM_PEER_ISSUER UPSTREAM_PEER_SUBJECT UPSTREAM_PEER_URI_SAN UPSTREAM_PROTOCOL
    UPSTREAM_REMOTE_ADDRESS UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID UPSTREAM_REMOTE_PORT
    UPSTREAM_REQUEST_ATTEMPT_COUNT UPSTREAM_SERVER_NAME UPSTREAM_TLS_CIPHER UPSTREAM_TLS_GROUP
    UPSTREAM_TLS_SESSION_ID UPSTREAM_TLS_VERSION UPSTREAM_TRANSPORT_FAILURE_REASON
    UPSTREAM_WIRE_BYTES_RECEIVED UPSTREAM_WIRE_BYTES_SENT VIRTUAL_CLUSTER_NAME
    """.split()  # noqa: SIM905  a table that is read, a name a line it is not
)


def _anything(_: str) -> str:
    return ""


def _needed(argument: str) -> str:
    return "" if argument else "needs an argument in parentheses"


def _header(argument: str) -> str:
    names = argument.split("?")
    if not argument:
        return "needs the name of a header in parentheses"
    if len(names) > 2:
        return "takes one header and one alternative"
    return "" if all(map(_HEADER.fullmatch, names)) else f'"{argument}" is no header name'


def _words(*positions: tuple[str, ...]) -> Callable[[str], str]:
    """One word of each set, separated by colons; each may be left out."""

    def check(argument: str) -> str:
        given = argument.split(":")
        if len(given) > len(positions):
            return f"takes at most {len(positions)} words"
        for word, known in zip(given, positions, strict=False):
            if word and word not in known:
                return f'"{word}" is none of {", ".join(known)}'
        return ""

    return check


def _metadata(argument: str) -> str:
    kind = argument.partition(":")[0]
    return "" if kind in _METADATA else f'"{kind}" is none of {", ".join(sorted(_METADATA))}'


def _filter_state(argument: str) -> str:
    key, _, rest = argument.partition(":")
    how, _, field = rest.partition(":")
    if not key:
        return "needs a key in parentheses"
    if how not in {"", "PLAIN", "TYPED", "FIELD"}:
        return f'"{how}" is none of PLAIN, TYPED, FIELD'
    return "FIELD needs the name of a field" if how == "FIELD" and not field else ""


def _duration(argument: str) -> str:
    parts = argument.split(":")
    if not 2 <= len(parts) <= 3:
        return "needs two points in time, as in (DS_RX_BEG:DS_RX_END:ms)"
    return "" if len(parts) == 2 or parts[2] in {"ms", "us", "ns"} else f'"{parts[2]}" is none of ms, us, ns'


def _uncheckable(_: str) -> str:
    return "cannot be used: nothing here can check its argument before a proxy refuses it"


class _Command(NamedTuple):
    check: Callable[[str], str]  # what is wrong with an argument; "" = it was left out
    length: bool = False  # whether ":20" may follow


_METADATA: Final = frozenset(
    {"DYNAMIC", "CLUSTER", "ROUTE", "UPSTREAM_HOST", "LISTENER", "LISTENER_FILTER_CHAIN", "VIRTUAL_HOST"}
)
_SERVER_NAME = _words(("SNI_ONLY", "SNI_FIRST", "HOST_FIRST"), ("ORIG_OR_HOST", "HOST", "ORIG"))
_OPTIONAL: Final = """
    DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT
    DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT
    UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT
    DOWNSTREAM_PEER_CERT_V_END DOWNSTREAM_PEER_CERT_V_START UPSTREAM_PEER_CERT_V_END UPSTREAM_PEER_CERT_V_START
    EMIT_TIME EMIT_TIME_LOCAL START_TIME START_TIME_LOCAL RESPONSE_CODE_DETAILS
    """.split()  # noqa: SIM905  as above
_HEADERS: Final = (
    "REQ",
    "REQUEST_HEADER",
    "RESP",
    "RESPONSE_HEADER",
    "RESPONSE_TRAILER",
    "STREAM_INFO_REQ",
    "TRAILER",
)
_COMMANDS: Final[Mapping[str, _Command]] = {
    **dict.fromkeys(_OPTIONAL, _Command(_anything)),
    **dict.fromkeys(_HEADERS, _Command(_header, length=True)),
    **dict.fromkeys(("DYNAMIC_METADATA", "ENVIRONMENT", "QUERY_PARAM"), _Command(_needed, length=True)),
    **dict.fromkeys(("CLUSTER_METADATA", "UPSTREAM_METADATA"), _Command(_needed)),
    **dict.fromkeys(("FILTER_STATE", "UPSTREAM_FILTER_STATE"), _Command(_filter_state, length=True)),
    **dict.fromkeys(("CEL", "COALESCE"), _Command(_uncheckable)),
    "COMMON_DURATION": _Command(_duration),
    "GRPC_STATUS": _Command(_words(("CAMEL_STRING", "SNAKE_STRING", "NUMBER"))),
    "METADATA": _Command(_metadata, length=True),
    "PATH": _Command(_words(("WQ", "NQ"), ("ORIG", "PATH", "ORIG_OR_PATH")), length=True),
    "QUERY_PARAMS": _Command(_words(("ORIG", "DECODED")), length=True),
    "REQUESTED_SERVER_NAME": _Command(_SERVER_NAME),
}
NAMES: Final = PLAIN | _COMMANDS.keys()


def substitution_error(text: str) -> str:
    """What makes Envoy refuse a text with commands; "" when it takes it."""
    at = text.find("%")
    while at >= 0:
        if text.startswith("%%", at):
            at = text.find("%", at + 2)
            continue
        command = _COMMAND.match(text, at)
        if command is None:
            return 'holds a "%" that begins no %COMMAND%; write "%%" for a percent sign'
        if error := _error(command[1], command[2] or "", command[3] or ""):
            return f"%{command[1]}% {error}"
        at = text.find("%", command.end())
    return ""


def _error(name: str, argument: str, length: str) -> str:
    if name in PLAIN:
        return "takes neither an argument nor a length" if argument or length else ""
    command = _COMMANDS.get(name)
    if command is None:
        return "is no command Envoy knows"
    return command.check(argument) or ("" if command.length or not length else "takes no length")
