"""How much may come, what of it is worth storing, and what became of it."""
