"""Exported networks: files that name pictures without this package."""
