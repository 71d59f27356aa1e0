"""Per-task losses or gradients to one update: one method a file."""
