"""Searches: one method a file."""
