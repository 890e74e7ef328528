"""The parts of `gatewayapi.ingress`, which is where to start reading."""
