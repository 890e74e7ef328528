"""Network filters: what a filter chain does with the bytes of a connection."""
