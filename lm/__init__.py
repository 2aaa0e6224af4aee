"""Which model speaks."""
