"""The metadata database: migrations, registering devices, loading what a worker knows of them."""
