"""The server against a real Envoy: what the protocol tests take for granted about it is seen here."""
