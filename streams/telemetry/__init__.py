"""The telemetry stream: validate, enrich, aggregate; pure functions on frames, and agents that wire them."""
