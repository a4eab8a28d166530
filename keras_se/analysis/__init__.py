"""Analysis of Squeeze-and-Excitation in a trained network."""
