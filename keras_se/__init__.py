"""Squeeze-and-Excitation networks for Keras: the layer, the networks, trained weights.

Names are loaded when first used (the stub beside this file lists them), so that the command line
starts without Keras. The layers are registered with Keras as soon as Keras is imported: a saved
model loads after nothing more than `import keras_se`.
"""

import importlib

import lazy_loader
import wrapt

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


@wrapt.when_imported("keras")
def _register_layers(_: object) -> None:
    importlib.import_module("keras_se.layers")
