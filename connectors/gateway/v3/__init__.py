"""REST Proxy v3: producing as a stream and in batches, and looking at clusters."""
