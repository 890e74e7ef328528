"""What the API server asks before it stores an object: see docs/injection.md."""
