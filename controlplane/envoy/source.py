"""Where Envoy asks for a resource: the aggregated stream it already has, or a file beside it."""

from datetime import timedelta
from typing import Any, Final

from envoy.config.core.v3 import config_source_pb2

from controlplane.envoy.duration import duration

# A missed answer must not hold a cluster (and the acknowledgement of its whole response) for ever.
_PATIENCE: Final = timedelta(seconds=5)


def ads(patience: timedelta = _PATIENCE) -> Any:
    """`ConfigSource` over ADS. patience: how long a parent warms without the resource; 0 = until it comes."""
    source = config_source_pb2.ConfigSource(resource_api_version=config_source_pb2.V3)
    source.ads.SetInParent()
    source.initial_fetch_timeout.CopyFrom(duration(patience))
    return source


def file(path: str, watched: str) -> Any:
    """`ConfigSource` in a file, read again when something moves in a folder. Relative: where Envoy was started."""
    source = config_source_pb2.ConfigSource(resource_api_version=config_source_pb2.V3)
    source.path_config_source.path = path
    source.path_config_source.watched_directory.path = watched
    return source
