"""Who calls, and what metadata says of organisations and devices, kept current without holding anybody up."""
