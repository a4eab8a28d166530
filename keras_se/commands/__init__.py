"""The commands of `keras-se`, one module each; only those that compute import Keras."""
