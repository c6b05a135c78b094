"""Holding what is stored against what was acknowledged."""
