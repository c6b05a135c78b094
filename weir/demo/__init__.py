"""The main job end to end: this machine and a small simulated fleet as devices, and a check of everything stored."""
