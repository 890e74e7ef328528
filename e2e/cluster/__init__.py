"""A real Kubernetes of one node, on a bare Linux machine, that leaves nothing behind.

A fake API server does not run Pods, and what goes wrong in a mesh goes wrong between kubelet, iptables and the order in
which things start. A cluster usually takes an engine, a registry and minutes. This one is made from Kubernetes' own
programs, and lives in namespaces of its own: it starts in seconds, the machine's network and mounts never see it, and
it ends with one signal. `docs/e2e.md` says how it is made and how to look inside.
"""
