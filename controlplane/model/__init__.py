"""Typed, frozen values for every kind Lateen reads. No Envoy, no I/O."""
