"""The dashboard: a page a file."""
