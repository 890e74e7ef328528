"""The wiring from model to snapshot: collections derived from collections, a list that reads aloud.

Start with `graph.py`. The other files hold one part of the wiring each; what traffic should do is decided in `mesh`,
how Envoy is told so in `envoy`. Here is only who depends on what, at the finest grain that is useful.
"""
