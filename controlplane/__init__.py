"""Lateen: Istio's API and Kubernetes' services in, Envoy's configuration out.

Read `docs/architecture.md` first: it says what each room is for and which way data flows.
"""
