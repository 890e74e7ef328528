"""Switches of Envoy itself that a mesh needs set otherwise than by default."""

from collections.abc import Mapping
from typing import Final

from controlplane.model.validate.common import MAX_REGEX_PROGRAM

FLAGS: Final[Mapping[str, object]] = {
    # Envoy's own limit of 100 refuses ordinary regexes, and the whole resource with them.
    "re2.max_program_size.error_level": MAX_REGEX_PROGRAM,
    "envoy.reloadable_features.http_reject_path_with_fragment": False,
}
