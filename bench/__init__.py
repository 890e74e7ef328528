"""Benchmarks: what a change costs, and where. `make bench` runs all; numbers go to docs/performance.md."""
