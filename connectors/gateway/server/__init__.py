"""HTTP as it arrives: connections, limits, bodies, what is written down of each request."""
