"""Programs that tests run in Pods: files that are passed to `python3 -c`, so with the standard library alone."""
