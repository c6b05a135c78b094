"""Small measurements behind decisions; each file is run by itself."""
