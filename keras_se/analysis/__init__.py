"""What Squeeze-and-Excitation does in a network that is trained."""
