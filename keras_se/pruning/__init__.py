"""Smaller networks: channels removed by their gates, stages without their gates."""
