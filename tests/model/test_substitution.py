"""Envoy's substitution commands, as we read them before Envoy does."""

import pytest

from controlplane.model.meshconfig import decode_settings
from controlplane.model.problem import Level
from controlplane.model.validate.substitution import substitution_error

GOOD = (
    "",
    "plain",
    "100%%",
    "%PROTOCOL%",
    "%PROTOCOL()%",
    "%REQ(x-id)%",
    "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH):20%",
    "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "%START_TIME(%)x)%",
    "%DYNAMIC_METADATA(a:b):9%%PROTOCOL%",
    "%GRPC_STATUS(NUMBER)%",
    "%PATH(NQ:ORIG)%",
    "%COMMON_DURATION(DS_RX_BEG:DS_RX_END:us)%",
    "%FILTER_STATE(a:FIELD:b)%",
    "%METADATA(ROUTE:a:b)%",
    "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(16)%",
    "%REQUESTED_SERVER_NAME(SNI_FIRST:HOST)%",
)
BAD = (
    "%",
    "100%",
    "% %",
    "%req(x)%",
    "%REQ%",
    "%REQ()%",
    "%REQ(a b)%",
    "%REQ(a?b?c)%",
    "%REQ(x):abc%",
    "%NO_SUCH_THING%",
    "%1%",
    "%PROTOCOL(x)%",
    "%PROTOCOL:5%",
    "%START_TIME:5%",
    "%PROTOCOL%x%",
    "%PATH(ALL)%",
    "%PATH(WQ:ALL)%",
    "%GRPC_STATUS(WORD)%",
    "%METADATA(HOST:a)%",
    "%METADATA%",
    "%FILTER_STATE%",
    "%FILTER_STATE(a:ODD)%",
    "%FILTER_STATE(a:FIELD)%",
    "%COMMON_DURATION(A)%",
    "%COMMON_DURATION(A:B:s)%",
    "%DYNAMIC_METADATA%",
    "%UPSTREAM_METADATA(a):5%",
)


@pytest.mark.parametrize("text", GOOD)
def test_what_envoy_takes(text):
    assert substitution_error(text) == ""


@pytest.mark.parametrize("text", BAD)
def test_what_envoy_refuses(text):
    assert substitution_error(text)


def test_an_argument_nobody_here_can_read_is_refused():
    assert "cannot be used" in substitution_error("%CEL(request.path)%")
    assert "cannot be used" in substitution_error('%COALESCE({"operators": ["PROTOCOL"]})%')


# The access log's format


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"accessLogFormat": "%RESPONSE_CODE% %UPSTREAM_HOTS%"}, "%UPSTREAM_HOTS%"),
        ({"accessLogFormat": "100%"}, "percent sign"),
        ({"accessLogEncoding": "JSON", "accessLogFormat": "%RESPONSE_CODE%"}, "no JSON"),
        ({"accessLogEncoding": "JSON", "accessLogFormat": "[1]"}, "no object"),
        ({"accessLogEncoding": "JSON", "accessLogFormat": '{"a": NaN}'}, "no JSON"),
        ({"accessLogEncoding": "JSON", "accessLogFormat": '{"a": {"b": ["%NOPE%"]}}'}, "%NOPE%"),
    ],
)
def test_a_bad_log_format_is_said_and_the_default_stands_in(document, says):
    settings, problems = decode_settings({"accessLogFile": "/dev/stdout", **document})
    assert [(one.code, one.level, one.origin.path) for one in problems] == [
        ("InvalidValue", Level.ERROR, "accessLogFormat")
    ]
    assert says in problems[0].message
    assert settings.access_log_format == ""
    assert settings.access_log_file == "/dev/stdout"


def test_a_good_log_format_is_kept():
    written = '{"status": "%RESPONSE_CODE%", "more": [{"to": "%UPSTREAM_HOST%"}, 3, true, null]}'
    settings, problems = decode_settings({"accessLogEncoding": "JSON", "accessLogFormat": written})
    assert problems == ()
    assert settings.access_log_format == written
