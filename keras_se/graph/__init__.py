"""Graphs of functional models: reading them, editing them, and facts about their layers."""
