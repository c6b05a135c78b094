"""The windowed aggregation of Weir's readings as small programs for other stream processors, and measuring them.

A program here runs in an environment of its own, where Weir's packages are not installed: it imports the standard
library, its own processor, fastavro and :mod:`bench.peers.program`, nothing else.
"""
