"""Objects of the mesh, judged before they are stored: see docs/validation.md."""
