"""Architectures: tables of nodes and edges, their order and schedule."""
