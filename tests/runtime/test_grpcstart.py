"""What gRPC is told when it is imported, and nobody after it."""

import os

import pytest

from controlplane.runtime.grpcstart import grpc_settings


def test_what_the_environment_says_goes_before_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRPC_EXPERIMENTS", raising=False)
    monkeypatch.setenv("GRPC_VERBOSITY", "INFO")
    with grpc_settings():
        assert os.environ["GRPC_EXPERIMENTS"]
        assert os.environ["GRPC_VERBOSITY"] == "INFO"
    assert "GRPC_EXPERIMENTS" not in os.environ
    assert os.environ["GRPC_VERBOSITY"] == "INFO"


def test_its_core_does_not_write_past_our_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)
    with grpc_settings():
        assert os.environ["GRPC_VERBOSITY"] == "NONE"
    assert "GRPC_VERBOSITY" not in os.environ
