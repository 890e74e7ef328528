"""Objects from an API server: list and watch, kind by kind."""
