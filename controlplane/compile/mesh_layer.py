"""Clusters that every sidecar has, whatever the mesh holds: where calls go that match nothing."""

from collections.abc import Mapping

from controlplane.compile.inputs import Inputs, settings_of
from controlplane.compile.layers import Layer
from controlplane.envoy import cluster as envoy_cluster
from controlplane.mesh import clusters as mesh_clusters
from controlplane.snapshot.resource import Resource
from controlplane.store import Collection, Fetch, Store


class MeshLayer:
    """The fixed clusters, in each layer that is the bottom of a stack."""

    def __init__(self, store: Store, inputs: Inputs, layers: Collection[Layer, bool]) -> None:
        self._inputs = inputs
        self.clusters = store.expand("FixedClusters", layers, self._fixed)

    def _fixed(self, fetch: Fetch, layer: Layer, _: object) -> Mapping[tuple[Layer, str], Resource]:
        if layer.kind not in ("mesh", "sidecar"):
            return {}
        settings = settings_of(fetch, self._inputs)
        encoded = (envoy_cluster.encode(cluster, settings) for cluster in mesh_clusters.fixed(settings))
        return {(layer, resource.name): resource for resource in encoded}
