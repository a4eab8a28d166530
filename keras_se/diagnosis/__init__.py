"""What is installed, what is known to break, and whether published weights work."""
