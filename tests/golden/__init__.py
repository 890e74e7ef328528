"""Golden files: what comes out, kept beside what went in.

`tests/golden/<room>/<feature>/in.yaml` is the input; the other files of its folder are outputs. `make golden` writes
them and removes what no input makes any more; a test compares them and asks the real Envoy what it thinks of them.
"""
