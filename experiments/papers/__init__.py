"""One card a paper table."""
