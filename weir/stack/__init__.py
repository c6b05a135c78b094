"""The embedded servers and the supervisor that owns them."""
