"""Smaller networks: remove channels by their gates, or all gates of a stage."""
