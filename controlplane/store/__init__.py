"""The incremental engine: keyed collections, functions between them, and what a change changes.

Nothing here knows what is computed, who asks, or when. `Store` is the way in.
"""

from controlplane.store.audit import InconsistencyError, Mismatch
from controlplane.store.collection import (
    Change,
    Collection,
    Fetch,
    GraphError,
    Index,
    Input,
    Query,
    Readable,
    StoreError,
)
from controlplane.store.lineage import Read
from controlplane.store.store import Changes, Fork, Revision, StaleForkError, Store

__all__ = [
    "Change",
    "Changes",
    "Collection",
    "Fetch",
    "Fork",
    "GraphError",
    "InconsistencyError",
    "Index",
    "Input",
    "Mismatch",
    "Query",
    "Read",
    "Readable",
    "Revision",
    "StaleForkError",
    "Store",
    "StoreError",
]
