"""A load generator that keeps a ledger of what it sent and what became of it."""
