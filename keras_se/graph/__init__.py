"""Graphs of functional models: tracing, editing, and facts about layers."""
