"""Chooses the publishers' version of Keras before any test file imports TensorFlow."""

import publishers  # noqa: F401
