"""Tests that need a real API server and real Pods."""
