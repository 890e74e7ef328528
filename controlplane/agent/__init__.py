"""The small process beside Envoy: its identity, its start and its end, and what the platform asks about both.

It stands once beside every workload of a mesh, so it is judged by what it costs: 40 MiB of memory, 300 ms until Envoy
runs. Hence what is absent: no gRPC, no protobuf, no YAML, no web framework, and nothing of the control plane but `base`
and the smallest of `runtime`. The configuration is none of its business: Envoy gets that from the control plane itself,
over mutual TLS with the certificate that the agent keeps fresh. The bootstrap comes ready-made with the certificate.

    settings   what it was told: flags, and the environment that Istio's proxies get
    identity   key, certificate, trust bundle: asked for (`authority`), kept (`generations`), renewed (`renewal`)
    envoy      started, watched, drained, ended
    status     readiness, merged metrics, the application's probes: the ports others may ask
"""
