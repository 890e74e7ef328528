"""The laptop mesh: ordinary manifests, real Envoys, local commands; no cluster, no root, no container."""
