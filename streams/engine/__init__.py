"""The engine: blocks of one partition, codec, windows, checkpoint. It knows nothing of devices."""
