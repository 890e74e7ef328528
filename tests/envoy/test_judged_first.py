"""What the model refuses because Envoy would: a real Envoy is asked whether that is so, and whether it takes the rest.

A resource Envoy refuses is refused as a whole, so one bad text would take a host, or every listener, with it.
"""

import pytest
import re2
from envoy.config.bootstrap.v3 import bootstrap_pb2
from google.protobuf import json_format

from controlplane.envoy.runtime import FLAGS
from controlplane.model.validate.common import MAX_REGEX_PROGRAM
from controlplane.model.validate.substitution import NAMES, PLAIN, substitution_error
from tests.envoys import validate
from tests.model.test_substitution import BAD, GOOD

TYPE = "type.googleapis.com/envoy.extensions."
UNCHECKABLE = {"CEL", "COALESCE"}


def verdict(*, logs: tuple[str, ...] = (), headers: tuple[str, ...] = (), regexes: tuple[str, ...] = ()) -> list[str]:
    """What Envoy holds against these log formats, header values and regexes."""
    routes = [{"match": {"safe_regex": {"regex": one}}, "direct_response": {"status": 200}} for one in regexes]
    routes.append(
        {
            "match": {"prefix": "/"},
            "direct_response": {"status": 200},
            "request_headers_to_add": [{"header": {"key": "x-a", "value": value}} for value in headers],
        }
    )
    manager = {
        "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x",
        "access_log": [
            {
                "name": "file",
                "typed_config": {
                    "@type": TYPE + "access_loggers.file.v3.FileAccessLog",
                    "path": "/dev/null",
                    "log_format": {"text_format_source": {"inline_string": text}},
                },
            }
            for text in logs
        ],
        "route_config": {"virtual_hosts": [{"name": "h", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": TYPE + "filters.http.router.v3.Router"}}],
    }
    listener = {
        "name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 80}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }
    bootstrap = {
        "static_resources": {"listeners": [listener]},
        "layered_runtime": {"layers": [{"name": "ours", "static_layer": dict(FLAGS)}]},
    }
    return validate(json_format.ParseDict(bootstrap, bootstrap_pb2.Bootstrap()))


def written(name: str) -> str:
    """A command with the argument it needs, if it needs one."""
    arguments = ("", "(a)", "(ROUTE:a)", "(A:B:ms)")
    return next(text for a in arguments if not substitution_error(text := f"%{name}{a}%"))


def test_envoy_takes_all_that_passes():
    commands = tuple(written(name) for name in sorted(NAMES - UNCHECKABLE))
    assert len(commands) > 150
    texts = (*filter(None, GOOD), *commands)
    assert verdict(logs=texts, headers=texts) == []


@pytest.mark.parametrize("text", BAD)
def test_envoy_refuses_what_does_not_pass(text):
    assert verdict(logs=(text,))


def test_envoy_refuses_it_in_headers_too():
    assert verdict(headers=("%NO_SUCH_THING%",))


@pytest.mark.parametrize("name", sorted(PLAIN)[::25])
def test_envoy_refuses_arguments_of_commands_that_take_none(name):
    assert verdict(logs=(f"%{name}(x)%",))


# Regular expressions


def regex_of(size: int) -> str:
    """A regex whose program has about so many instructions."""
    return "a{1000}" * (size // 1000)


def test_the_largest_program_passes_and_a_larger_one_does_not():
    small, large = regex_of(MAX_REGEX_PROGRAM - 1000), regex_of(MAX_REGEX_PROGRAM + 2000)
    assert re2.compile(small).programsize <= MAX_REGEX_PROGRAM < re2.compile(large).programsize
    assert verdict(regexes=(small,)) == []
    (said,) = verdict(regexes=(large,))
    assert "max program size" in said
