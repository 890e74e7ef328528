"""Names by which one object refers to another."""

MESH = "mesh"  # the reserved gateway name that stands for all sidecars
IN_MESH = frozenset({MESH})


def gateway_key(name: str, namespace: str) -> str:
    """The gateway a rule of `namespace` means, as "namespace/name" or "mesh".

    Written "gw", "ns/gw", "./gw" or, as in the old days, "gw.ns.svc.cluster.local".
    """
    if name == MESH:
        return MESH
    if "/" in name:
        return namespace + name[1:] if name.startswith("./") else name
    if "." not in name:
        return f"{namespace}/{name}"
    short, its_namespace, *_ = name.split(".")
    return f"{its_namespace}/{short}"
