"""What Keras asks of every layer, asked of those of this package, on any backend.

Each case is a layer with an input and what its formula gives in NumPy.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_se import SqueezeExcite
from keras_se.layers import (
    AdaptiveAveragePooling1D,
    AdaptiveAveragePooling2D,
    AdaptiveAveragePooling3D,
    BatchNormalization,
    ChannelShuffle,
    Dense,
    DepthwiseConv3D,
    EdgePadding3D,
    EfficientChannelAttention,
    GroupedConv1D,
    GroupedConv2D,
    GroupedConv3D,
    MatchSize,
    MultiplyAdd,
    PictureNormalization,
    ScaleOffset,
    ShakeShake,
    SpatialChannelSqueezeExcite,
    StochasticDepth,
    UpSampling1D,
    UpSampling2D,
)

# Of outputs of the order of one, by the precision of the layer's computation.
TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "bfloat16": 0.1, "float16": 0.02}
POLICIES = ("float32", "float64", "bfloat16", "float16", "mixed_bfloat16", "mixed_float16")
SHAPE = (2, 6, 5, 8)
SIGNAL, VOLUME = (2, 6, 8), (2, 4, 6, 5, 8)
# A way to shuffle eight channels in two groups.
SHUFFLED = [0, 4, 1, 5, 2, 6, 3, 7]


@dataclass(frozen=True)
class Case:
    """A layer, and what is known of it.

    Attributes:
        kind: Its class.
        options: Arguments of its constructor.
        expected: Its output in float64 from its inputs and the values of its weights.
        weights: Shapes of its weights by name.
        output: Shape of its output without the batch.
        shapes: Shapes of its inputs.
        masks: Whether it lets a mask of the positions pass.
        random: Whether its output in training is random.
        precise: Whether it computes in float64 where it is asked to; Keras' own BatchNorm takes
            the reciprocal in float32 on Torch.
    """

    kind: type[Any]
    expected: Callable[..., np.ndarray]
    options: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, tuple[int, ...]] = field(default_factory=dict)
    output: tuple[int, ...] = SHAPE[1:]
    shapes: tuple[tuple[int, ...], ...] = (SHAPE,)
    masks: bool = True
    random: bool = False
    precise: bool = True

    def layer(self, **more: Any) -> Any:
        return self.kind(**self.options, **more)

    def inputs(self, rows: int = 2) -> list[np.ndarray]:
        random = np.random.default_rng(0)
        # Values that every precision has.
        return [random.integers(-8, 9, (rows, *s[1:])) / 8 for s in self.shapes]

    def fill(self, layer: Any) -> dict[str, np.ndarray]:
        """Give the layer's weights values that every precision has; return them."""
        random = np.random.default_rng(1)
        values = {v.name: random.integers(-4, 5, v.shape) / 8 for v in layer.trainable_weights}
        for variable in layer.trainable_weights:
            variable.assign(values[variable.name])
        return values


def _excited(x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    z = x.mean((1, 2), keepdims=True)
    z = np.maximum(z @ w["reduce_kernel"] + w["reduce_bias"], 0)
    return x / (1 + np.exp(-(z @ w["expand_kernel"] + w["expand_bias"])))


def _neighbours(x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    z = np.pad(x.mean((1, 2)), ((0, 0), (1, 1)))
    logits = sum(z[:, n : n + 8] * w["kernel"][n] for n in range(3))
    return x / (1 + np.exp(-logits))[:, None, None]


def _twice_excited(x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    logits = x @ w["position_kernel"] + w["position_bias"]
    return _excited(x, w) + x / (1 + np.exp(-logits))


def _pooled(x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    rows = [x[:, :3], x[:, 3:]]
    return np.stack(
        [
            np.stack([r[:, :, a:b].mean((1, 2)) for a, b in ((0, 2), (1, 4), (3, 5))], 1)
            for r in rows
        ],
        1,
    )


def _convolved(x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    parts = zip(np.split(x, 4, -1), np.split(w["kernel"], 4, -1), strict=True)
    products = [part @ kernel.reshape(kernel.shape[-2:]) for part, kernel in parts]
    return np.concatenate(products, -1) + w["bias"]


def _slices_convolved(x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    x = np.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0)))
    kernel = w["kernel"][:, 0, 0, :, 0]
    return sum(x[:, n : n + 4] * kernel[n] for n in range(3)) + w["bias"]


def _padded(x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    x = np.concatenate([x[:, :1], x, x[:, -1:], x[:, -1:]], 1)
    return np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 0), (0, 0)))


def _interpolated(x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)), "edge")
    left = x[:, :, :-2] / 4 + x[:, :, 1:-1] * 3 / 4
    right = x[:, :, 1:-1] * 3 / 4 + x[:, :, 2:] / 4
    return np.stack([left, right], 3).reshape(len(x), 6, 10, 8)


def _grouped(layer, shape):
    """The case of a grouped convolution on inputs of a shape."""
    return Case(
        layer,
        _convolved,
        {"filters": 16, "kernel_size": 1, "groups": 4},
        {"kernel": (*[1] * len(shape[1:-1]), 2, 16), "bias": (16,)},
        output=(*shape[1:-1], 16),
        shapes=(shape,),
        masks=False,
    )


CASES = {
    "SqueezeExcite": Case(
        SqueezeExcite,
        _excited,
        weights={
            "reduce_kernel": (8, 1), "expand_kernel": (1, 8), "reduce_bias": (1,),
            "expand_bias": (8,),
        },
    ),
    "EfficientChannelAttention": Case(
        EfficientChannelAttention, _neighbours, weights={"kernel": (3,)}
    ),
    "SpatialChannelSqueezeExcite": Case(
        SpatialChannelSqueezeExcite,
        _twice_excited,
        {"ratio": 2},
        {
            "reduce_kernel": (8, 4), "expand_kernel": (4, 8), "reduce_bias": (4,),
            "expand_bias": (8,), "position_kernel": (8, 1), "position_bias": (1,),
        },
    ),
    "AdaptiveAveragePooling1D": Case(
        AdaptiveAveragePooling1D,
        lambda x, w: x.reshape(len(x), 3, 2, 8).mean(2),
        {"output_size": 3},
        output=(3, 8),
        shapes=(SIGNAL,),
        masks=False,
    ),
    "AdaptiveAveragePooling3D": Case(
        AdaptiveAveragePooling3D,
        lambda x, w: _pooled(x.mean(1), w)[:, None],
        {"output_size": (1, 2, 3)},
        output=(1, 2, 3, 8),
        shapes=(VOLUME,),
        masks=False,
    ),
    "AdaptiveAveragePooling2D": Case(
        AdaptiveAveragePooling2D,
        _pooled,
        {"output_size": (2, 3)},
        output=(2, 3, 8),
        masks=False,
    ),
    "BatchNormalization": Case(
        BatchNormalization,
        lambda x, w: x / np.sqrt(1 + 1e-3) * w["gamma"] + w["beta"],
        weights={"gamma": (8,), "beta": (8,)},
        precise=False,
    ),
    "ChannelShuffle": Case(ChannelShuffle, lambda x, w: x[..., SHUFFLED], {"groups": 2}),
    "Dense": Case(
        Dense,
        lambda x, w: x @ w["kernel"] + w["bias"],
        {"units": 3, "labels": ("ant", "bee", "cat"), "scores": "softmax"},
        {"kernel": (8, 3), "bias": (3,)},
        output=(6, 5, 3),
    ),
    "DepthwiseConv3D": Case(
        DepthwiseConv3D,
        _slices_convolved,
        {"kernel_size": (3, 1, 1), "padding": "same"},
        {"kernel": (3, 1, 1, 8, 1), "bias": (8,)},
        output=VOLUME[1:],
        shapes=(VOLUME,),
        masks=False,
    ),
    "EdgePadding3D": Case(
        EdgePadding3D,
        _padded,
        {"padding": ((1, 2), (0, 1), (0, 0))},
        output=(7, 7, 5, 8),
        shapes=(VOLUME,),
        masks=False,
    ),
    "GroupedConv1D": _grouped(GroupedConv1D, SIGNAL),
    "GroupedConv3D": _grouped(GroupedConv3D, VOLUME),
    "GroupedConv2D": _grouped(GroupedConv2D, SHAPE),
    # Sizes that differ: `test_match_size.py`.
    "MatchSize": Case(MatchSize, lambda x, y, w: x, shapes=(SHAPE, SHAPE), masks=False),
    "MultiplyAdd": Case(
        MultiplyAdd, lambda x, y, z, w: x * y + z, shapes=(SHAPE, (2, 1, 1, 8), SHAPE)
    ),
    "PictureNormalization": Case(
        PictureNormalization,
        lambda x, w: ((x - 127.5) / 63.75)[..., ::-1],
        {
            "mean": (0.5,) * 8, "std": (0.25,) * 8, "channel_order": "BGR", "size": 32,
            "crop": 0.875, "interpolation": "bicubic",
            "architecture": {"model": "SEResNet20", "variant": {"blocks": [3, 3, 3]}},
        },
        masks=False,
    ),
    "ScaleOffset": Case(
        ScaleOffset,
        lambda x, w: x * w["scale"] + w["offset"],
        weights={"scale": (8,), "offset": (8,)},
    ),
    "ShakeShake": Case(
        ShakeShake, lambda x, y, w: (x + y) / 2, shapes=(SHAPE, SHAPE), random=True
    ),
    "StochasticDepth": Case(StochasticDepth, lambda x, w: x, {"rate": 0.5}, random=True),
    "UpSampling1D": Case(
        UpSampling1D, lambda x, w: x.repeat(3, 1), {"size": 3}, output=(18, 8), shapes=(SIGNAL,),
        masks=False,
    ),
    "UpSampling2D": Case(
        UpSampling2D, _interpolated, {"size": (1, 2), "interpolation": "bilinear"},
        output=(6, 10, 8), masks=False,
    ),
}  # fmt: skip


def called(layer: Any, inputs: list[np.ndarray], **options: Any) -> Any:
    """The layer's output of inputs of its own precision."""
    tensors = [ops.convert_to_tensor(x, layer.compute_dtype) for x in inputs]
    return layer(tensors if len(tensors) > 1 else tensors[0], **options)


def dtype_of(x: Any) -> str:
    return keras.backend.standardize_dtype(x.dtype)


def float64(x: Any) -> np.ndarray:
    return ops.convert_to_numpy(ops.cast(x, "float32") if "16" in dtype_of(x) else x).astype("f8")


def check(name: str, folder: Any) -> None:
    """All that is asked of a layer; an `AssertionError` says what is not as it should be."""
    case = CASES[name]
    _configuration(case)
    _data_format(case)
    precisions = [p for p in POLICIES if keras.backend.backend() != "jax" or p != "float64"]
    for policy in precisions:
        _values(case, policy)
    _sizes(case)
    _training(case)
    _rows(case)
    _mask(case)
    _files(case, folder / f"{name}.keras")


def _configuration(case: Case) -> None:
    layer = case.layer(name="mine", trainable=False)
    again = case.kind.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert (again.name, again.trainable) == ("mine", False)
    stored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(stored) is case.kind
    assert stored.get_config() == layer.get_config()
    assert not layer.built


def _data_format(case: Case) -> None:
    """A layer made with the channels first keeps them there, whatever Keras is set to later."""
    keras.config.set_image_data_format("channels_first")
    try:
        layer = case.layer()
    finally:
        keras.config.set_image_data_format("channels_last")
    again = case.kind.from_config(layer.get_config())
    moved = [(s[0], s[-1], *s[1:-1]) for s in case.shapes]
    first, second = (
        made.compute_output_shape(moved if len(moved) > 1 else moved[0]) for made in (layer, again)
    )
    assert second == first
    assert getattr(again, "data_format", None) == getattr(layer, "data_format", None)


def _values(case: Case, policy: str) -> None:
    layer, x = case.layer(dtype=policy), case.inputs()
    compute = layer.compute_dtype
    y = called(layer, x)
    assert {v.name: tuple(v.shape) for v in layer.trainable_weights} == case.weights
    assert all(dtype_of(v) == layer.variable_dtype for v in layer.trainable_weights)
    weights = case.fill(layer)
    y = called(layer, x)
    assert tuple(y.shape) == (2, *case.output)
    assert dtype_of(y) == compute, (policy, dtype_of(y))
    bound = TOLERANCE[compute if case.precise or compute != "float64" else "float32"]
    np.testing.assert_allclose(
        float64(y), case.expected(*x, weights), rtol=0, atol=bound, err_msg=policy
    )
    shapes = [a.shape for a in x]
    shape = layer.compute_output_shape(shapes if len(shapes) > 1 else shapes[0])
    assert tuple(shape) == tuple(y.shape)


def _sizes(case: Case) -> None:
    """What is known of the shape of symbolic tensors, and what comes of real ones."""
    whole = case.shapes[-1][1:-1]
    for unknown in range(len(whole), -1, -1):
        # The last ones are unknown.
        known = [n if axis < len(whole) - unknown else None for axis, n in enumerate(whole)]
        inputs = [
            keras.Input((*(n if m > 1 else 1 for n, m in zip(known, s[1:-1], strict=True)), s[-1]))
            for s in case.shapes
        ]
        layer = case.layer()
        outputs = layer(inputs if len(inputs) > 1 else inputs[0])
        fixed = "output_size" in layer.get_config()
        for found, size, given in zip(outputs.shape[1:-1], case.output, known, strict=False):
            assert found == (size if fixed or given else None)
        assert outputs.shape[-1] == case.output[-1]
        model = keras.Model(inputs if len(inputs) > 1 else inputs[0], outputs)
        x = case.inputs()
        y = model(x if len(x) > 1 else x[0])
        assert tuple(y.shape) == (2, *case.output)
        predicted = model.predict(x if len(x) > 1 else x[0], verbose=0)
        np.testing.assert_allclose(predicted, float64(y), rtol=0, atol=TOLERANCE["float32"])


def _training(case: Case) -> None:
    layer, x = case.layer(), case.inputs(64)
    calm = float64(called(layer, x))
    if not case.random:
        return
    assert np.array_equal(float64(called(layer, x, training=False)), calm)
    first, second = (float64(called(layer, x, training=True)) for _ in range(2))
    assert not np.array_equal(first, calm)
    assert not np.array_equal(first, second)
    assert np.isfinite(first).all()


def _rows(case: Case) -> None:
    layer = case.layer()
    for rows in (0, 1, 3):
        y = called(layer, case.inputs(rows))
        assert tuple(y.shape) == (rows, *case.output), (rows, tuple(y.shape))


def _mask(case: Case) -> None:
    """A mask of the positions passes without a warning, or is dropped with Keras' own."""
    inputs = [keras.layers.Input(s[1:]) for s in case.shapes]
    masked = [keras.layers.Masking(-7.0)(x) for x in inputs]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        y = case.layer()(masked if len(masked) > 1 else masked[0])
    dropped = any("does not support masking" in str(warning.message) for warning in caught)
    assert dropped != case.masks
    assert (getattr(y, "_keras_mask", None) is not None) == case.masks


def _files(case: Case, path: Any) -> None:
    inputs = [keras.Input(s[1:]) for s in case.shapes]
    layer = case.layer(name="mine")
    given = inputs if len(inputs) > 1 else inputs[0]
    model = keras.Model(given, layer(given))
    case.fill(layer)
    x = case.inputs()
    x = x if len(x) > 1 else x[0]
    expected = model.predict(x, verbose=0)
    model.save(path)
    loaded = keras.models.load_model(path)
    assert type(loaded.get_layer("mine")) is case.kind
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), expected)
