"""Squeeze-and-Excitation networks for Keras: the layer, the networks, trained weights.

Names are loaded on first use (the stub beside this file lists them), so that the command line
starts without Keras. The layers are registered as soon as Keras is imported, so a saved model loads
after just `import keras_se`.
"""

import importlib

import lazy_loader
import wrapt

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


@wrapt.when_imported("keras")
def _register_layers(_: object) -> None:
    importlib.import_module("keras_se.layers")
