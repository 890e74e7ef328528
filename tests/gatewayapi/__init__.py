"""Tests of the front end for Kubernetes' own kinds of ingress."""
