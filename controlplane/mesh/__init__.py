"""The front end for Istio's kinds: model values in, traffic words out. Pure functions; one file per kind."""
