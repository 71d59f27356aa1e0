"""The commands of ``evojax-mtl``: one a file; none imports JAX to answer ``--help``."""
