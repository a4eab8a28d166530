"""Trained weights: the registry, and reading and loading files."""
