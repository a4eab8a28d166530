"""What acts in training only: gone at inference."""

from __future__ import annotations

import keras
from keras import layers

from keras_se.copies import known
from keras_se.graph import Call
from keras_se.inference.network import Network
from keras_se.inference.parts import Copy, New, trains

# By name: some are inside keras.applications.
TRAINING_ONLY = {
    "ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise",
    "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "StochasticDepth",
    "AugMix", "CutMix", "MixUp", "RandAugment", "RandomBrightness", "RandomColorDegeneration",
    "RandomColorJitter", "RandomContrast", "RandomElasticTransform", "RandomErasing", "RandomFlip",
    "RandomGaussianBlur", "RandomGrayscale", "RandomHue", "RandomInvert", "RandomPerspective",
    "RandomPosterization", "RandomRotation", "RandomSaturation", "RandomSharpness", "RandomShear",
    "RandomTranslation", "RandomZoom",
}  # fmt: skip


def remove_training_only(network: Network) -> list[str]:
    """Take out dropout, noise, augmentation and identities; Shake-Shake becomes a mean."""
    done = []
    for call in list(network.calls):
        part = call.layer
        if not isinstance(part, Copy) or not known(part.source) or trains(part.source, call):
            continue
        if _does_nothing(part.source) and _keeps(call):
            network.replace(call, call.inputs[0])
            done.append(part.label)
        elif type(part.source).__name__ == "ShakeShake" and len(call.inputs) == 2:
            mean = New(layers.Average, part.name, dtype=part.source.dtype_policy)
            (y,) = call.outputs
            network.replace(call, network.insert(call, mean, call.inputs, y.shape, y.dtype))
            done.append(part.label)
    return done


def _does_nothing(layer: object) -> bool:
    if isinstance(layer, layers.Activation):
        return layer.activation is keras.activations.linear
    return type(layer).__name__ in TRAINING_ONLY | {"Identity"}


def _keeps(call: Call) -> bool:
    """Whether the output is like the input: some layers cast what they take."""
    ends = [call.inputs[:1], call.outputs]
    first, last = ([(x.shape, x.dtype) for x in xs] for xs in ends)
    return first == last and len(call.outputs) == 1
