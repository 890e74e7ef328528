"""Keys of token issuers, where the control plane gets them: in the stead of proxies that cannot reach an issuer.

Whoever may write a RequestAuthentication says whom we ask, and what comes back decides who is believed. So an answer
is bounded in time, size and place (`fetching`), only what was understood of it goes on, a good one is kept over
restarts (`keeping`), and nothing ever takes the place of keys that cannot be had (`source`).
"""
