"""The commands of `keras-se`, one module each; Keras is imported only by those that compute."""
