"""REST Proxy v2: producing, and looking at topics."""
