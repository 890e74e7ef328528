"""The parts of `mesh.gateway`, which is where to start reading."""
