"""Evaluation: training and scoring of architectures."""
