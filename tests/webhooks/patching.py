"""RFC 6902 by hand, as an API server applies it: independent of what made the patch."""

from copy import deepcopy
from typing import Any


def applied(document: Any, patch: list[dict[str, Any]]) -> Any:
    """The document after the patch; what does not fit raises."""
    document = deepcopy(document)
    for step in patch:
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]]
        owner = document
        for key in parents:
            owner = owner[int(key)] if isinstance(owner, list) else owner[key]
        if isinstance(owner, list):
            index = int(last)
            assert 0 <= index <= len(owner) - (step["op"] != "add")
            if step["op"] == "add":
                owner.insert(index, step["value"])
            elif step["op"] == "replace":
                owner[index] = step["value"]
            else:
                del owner[index]
        elif step["op"] == "remove":
            del owner[last]
        else:
            assert step["op"] == "add" or last in owner
            owner[last] = step["value"]
    return document
