"""Real Envoys under a real control plane: whether they take what random meshes compile to, and do what it says."""
