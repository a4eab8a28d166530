"""Trained weights: the registry, and how files are read and placed."""
