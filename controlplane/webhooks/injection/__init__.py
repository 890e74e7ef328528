"""Pods into the mesh: a proxy beside the application, and the rules that lead its traffic there."""
