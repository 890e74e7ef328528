"""Switches of Envoy itself that a mesh needs set otherwise than by default."""

from collections.abc import Mapping
from typing import Final

# RE2 instructions a regex may need. Envoy's own limit of 100 refuses ordinary ones, and the whole resource with them.
MAX_REGEX_PROGRAM: Final = 32_768

FLAGS: Final[Mapping[str, object]] = {
    "re2.max_program_size.error_level": MAX_REGEX_PROGRAM,
    "envoy.reloadable_features.http_reject_path_with_fragment": False,
}
