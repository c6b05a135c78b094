"""Holding raw readings, 1-minute and 1-hour windows against each other, and mending what differs."""
