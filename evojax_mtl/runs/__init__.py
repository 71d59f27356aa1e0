"""Runs: the folder of a run, its checkpoints, metrics and report."""
