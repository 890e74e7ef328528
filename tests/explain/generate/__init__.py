"""Random Envoy configurations, and calls that mostly just hit or just miss.

The vocabulary is small on purpose: ten paths and ten hosts collide all the time, a million would never.
"""

from tests.explain.generate.worlds import captured, chains, provide, table

__all__ = ["captured", "chains", "provide", "table"]
