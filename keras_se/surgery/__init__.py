"""Insert attention blocks into a network without changing its function."""
