"""Tasks: one source of data a file."""
