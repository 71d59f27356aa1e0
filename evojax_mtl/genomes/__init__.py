"""Genomes: what evolves; each decodes to an architecture."""
