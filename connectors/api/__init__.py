"""The HTTP API of metadata: what :mod:`connectors.entities` does, for whoever has a key or a password.

A request passes, in this order: observation (log line, metrics), refusals (written as events), authentication, the
limits of a body, and then one function of :mod:`connectors.api.routes`.
"""
