"""Weir's tests, and what they share: a stack, a world of its own on it, workers, and waiting."""
