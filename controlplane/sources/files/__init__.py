"""Objects from files: YAML and JSON in directories, watched."""
