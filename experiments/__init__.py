"""Experiments: benchmarks and the cards of the papers."""
