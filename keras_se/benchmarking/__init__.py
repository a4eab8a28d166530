"""Speed comparison of networks, in turn in one process."""
