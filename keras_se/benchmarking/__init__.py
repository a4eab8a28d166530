"""How fast networks are, beside each other: in one process, in turn."""
