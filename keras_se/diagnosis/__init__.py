"""Checks of the installation, of the publishers' servers and of published weights."""
