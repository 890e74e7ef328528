"""What stands in for Envoy where a test is not about it."""

import pytest


@pytest.fixture
def idle_envoy(tmp_path):
    """Lives until it is ended, and does nothing."""
    program = tmp_path / "idle-envoy"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o700)
    return str(program)
