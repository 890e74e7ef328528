"""The simulator, by itself and against the real Envoy."""
