"""Attention blocks for a network that has none, without a change of its function."""
