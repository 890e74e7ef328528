"""The front end for Kubernetes' own kinds of ingress: from their objects to the same `ir` that `mesh` makes.

It is built on `mesh`, which has the servers of gateways and knows what a destination is; `mesh` knows nothing of it.
"""
