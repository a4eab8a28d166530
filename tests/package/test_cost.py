"""What networks cost: counted by hand, by the paper, and by TensorFlow's and Torch's profilers."""

import dataclasses
import gc
import inspect
import json
import math
import subprocess
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from command_line import assert_mistake
from keras import layers, ops
from processes import environment
from quick_cases import marked

import keras_se
from keras_se import SEConfig, SqueezeExcite, cost
from keras_se.complexity import LayerCost
from keras_se.graph.trace import recursion, trace
from keras_se.layers import GroupedConv2D
from keras_se.layers.grouped_conv2d import _tensorflow_groups_natively

# layer, shape of its input, multiply-adds: positions x kernel x channels, parameters
KINDS = {
    "Conv1D": (lambda: layers.Conv1D(8, 3, strides=2, padding="causal"), (9, 4), 5 * 3 * 32, 104),
    "Conv2D": (lambda: layers.Conv2D(8, (3, 5)), (12, 13, 4), 10 * 9 * 15 * 32, 488),
    "strided": (lambda: layers.Conv2D(8, 3, 2, "same"), (7, 8, 4), 4 * 4 * 9 * 32, 296),
    "dilated": (
        lambda: layers.Conv2D(8, 3, dilation_rate=(2, 3), use_bias=False),
        (12, 13, 4), 8 * 7 * 9 * 32, 288,
    ),
    "grouped": (lambda: layers.Conv2D(8, 3, groups=2), (7, 8, 4), 5 * 6 * 9 * 2 * 8, 152),
    "GroupedConv2D": (lambda: GroupedConv2D(8, 3, groups=4), (7, 8, 4), 5 * 6 * 9 * 8, 80),
    "Conv3D": (lambda: layers.Conv3D(2, 3, padding="same"), (4, 5, 6, 3), 120 * 27 * 6, 164),
    "Conv1DTranspose": (
        lambda: layers.Conv1DTranspose(5, 3, strides=2, padding="same"), (7, 4), 7 * 3 * 20, 65,
    ),
    "Conv2DTranspose": (
        lambda: layers.Conv2DTranspose(6, (2, 3), strides=2), (5, 4, 3), 20 * 6 * 18, 114,
    ),
    "Conv3DTranspose": (lambda: layers.Conv3DTranspose(2, 2), (3, 3, 3, 4), 27 * 8 * 8, 66),
    "DepthwiseConv1D": (
        lambda: layers.DepthwiseConv1D(3, depth_multiplier=2), (9, 4), 7 * 3 * 8, 32,
    ),
    "DepthwiseConv2D": (
        lambda: layers.DepthwiseConv2D(3, 2, "same", depth_multiplier=3),
        (7, 7, 4), 16 * 9 * 12, 120,
    ),
    "SeparableConv1D": (
        lambda: layers.SeparableConv1D(6, 3, depth_multiplier=2),
        (9, 4), 7 * (3 * 8 + 8 * 6), 78,
    ),
    "SeparableConv2D": (
        lambda: layers.SeparableConv2D(6, 3, padding="same"), (7, 7, 4), 49 * (36 + 24), 66,
    ),
    "Dense": (lambda: layers.Dense(6), (10,), 60, 66),
    "Dense of rank 4": (lambda: layers.Dense(6), (5, 7, 10), 35 * 60, 66),
    "EinsumDense": (
        lambda: layers.EinsumDense("abc,cde->abde", (None, 2, 3)), (5, 4), 5 * 4 * 6, 24,
    ),
    "EinsumDense over two axes": (
        lambda: layers.EinsumDense("abcd,cde->abe", (None, 6)), (5, 4, 3), 5 * 12 * 6, 72,
    ),
    "EinsumDense with an ellipsis": (
        lambda: layers.EinsumDense("...x,xy->...y", 6), (2, 5, 4), 10 * 4 * 6, 24,
    ),
    "SqueezeExcite": (lambda: SqueezeExcite(4), (6, 5, 8), 2 * 8 * 2 + 240, 42),
    "SqueezeExcite of rank 3": (lambda: SqueezeExcite(4, squeeze="max"), (6, 8), 32 + 48, 42),
    "SqueezeExcite of rank 5": (lambda: SqueezeExcite(4), (2, 3, 4, 8), 32 + 192, 42),
    "NoSqueeze": (
        lambda: SqueezeExcite(4, squeeze=None, use_bias=False),
        (6, 5, 8), 30 * 32 + 240, 32,
    ),
    "SpectralNormalization": (
        lambda: layers.SpectralNormalization(layers.Conv2D(8, 3)), (6, 5, 4), 12 * 9 * 32, 304,
    ),
}  # fmt: skip
FREE = {
    "BatchNormalization": (layers.BatchNormalization, 16),
    "LayerNormalization": (lambda: layers.LayerNormalization(axis=(1, 2, 3)), 240),
    "PReLU": (layers.PReLU, 120),
    "Embedding": (lambda: layers.Embedding(10, 3), 30),
}
FIRST = {
    "Conv2D": lambda **first: layers.Conv2D(8, 3, 2, "same", groups=2, **first),
    "Conv2DTranspose": lambda **first: layers.Conv2DTranspose(8, 3, 2, **first),
    "DepthwiseConv2D": lambda **first: layers.DepthwiseConv2D(3, 2, **first),
    "SeparableConv2D": lambda **first: layers.SeparableConv2D(8, 3, **first),
    "SqueezeExcite": lambda **first: SqueezeExcite(2, **first),
    "NoSqueeze": lambda **first: SqueezeExcite(2, squeeze=None, **first),
}


def model_of(layer, shape):
    x = keras.Input(shape)
    return keras.Model(x, layer(x))


@pytest.fixture(scope="module")
def small():
    """A network with all of the below in it: a nested one, shared layers, two inputs."""
    encoder = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            layers.Conv2D(8, 3, name="conv"),
            SqueezeExcite(4, name="se"),
        ],
        name="encoder",
    )
    shared = layers.Conv2D(8, 1, name="shared")
    left, right = keras.Input((10, 12, 3), name="left"), keras.Input((5, 6, 3), name="right")
    x, y = shared(encoder(left)), shared(encoder(right))
    x, y = layers.GlobalAveragePooling2D()(x), layers.GlobalAveragePooling2D()(y)
    x = layers.BatchNormalization(name="bn")(ops.concatenate([x, ops.relu(y)], axis=-1))
    return keras.Model({"left": left, "right": right}, layers.Dense(2, name="top")(x))


@pytest.mark.parametrize("name", KINDS)
def test_kinds(name):
    build, shape, macs, params = KINDS[name]
    layer = build()
    counted = cost(model_of(layer, shape))
    assert (counted.macs, counted.params_total) == (macs, params)
    assert counted.not_counted == ()
    excites = isinstance(layer, SqueezeExcite)
    assert (counted.se_macs, counted.se_params) == ((macs, params) if excites else (0, 0))
    row = LayerCost(layer.name, type(layer).__name__, layer.output.shape[1:], params, macs, excites)
    assert counted.layers == (row,)


@pytest.mark.parametrize("name", FREE)
def test_kinds_that_do_not_multiply(name):
    build, params = FREE[name]
    counted = cost(model_of(build(), (6, 5, 4)))
    assert (counted.macs, counted.params_total, counted.not_counted) == (0, params, ())


def test_batch_norm_statistics():
    counted = cost(model_of(layers.BatchNormalization(), (6, 5, 4)))
    assert (counted.params_trainable, counted.params_total) == (8, 16)


@pytest.mark.parametrize("name", FIRST)
def test_channels_first(name):
    last = cost(model_of(FIRST[name](data_format="channels_last"), (9, 7, 4)))
    first = cost(model_of(FIRST[name](data_format="channels_first"), (4, 9, 7)))
    assert first.macs == last.macs > 0


@pytest.mark.parametrize(
    "layer",
    [
        layers.MultiHeadAttention(2, 3, name="unknown"),
        layers.Bidirectional(layers.LSTM(3), name="unknown"),
        layers.Dot(axes=-1, name="unknown"),
    ],
    ids=["weights", "wrapped", "product"],
)
def test_kinds_that_are_not_counted(layer):
    x = keras.Input((5, 4))
    y = layer(x) if isinstance(layer, layers.Bidirectional) else None
    y = layer(x, x) if isinstance(layer, layers.MultiHeadAttention) else y
    y = layer([x, x]) if y is None else y
    counted = cost(keras.Model(x, layers.Dense(2)(y)))
    assert counted.not_counted == ("unknown",)
    assert counted.layers[0].macs is None
    assert counted.macs == math.prod(y.shape[1:]) * 2
    assert counted.params_total == sum(row.params for row in counted.layers)
    assert "not counted: unknown" in str(counted)


def test_bare_operations_that_multiply():
    x = keras.Input((5, 4))
    counted = cost(keras.Model(x, ops.matmul(x, ops.transpose(x, (0, 2, 1)))))
    assert len(counted.not_counted) == 1
    assert counted.layers[0].kind == "Matmul"


def test_a_size_that_only_the_run_knows_is_not_counted():
    class Some(layers.Layer):
        def compute_output_shape(self, shape):
            return (shape[0], None, *shape[2:])

        def call(self, x):
            return x

    conv = layers.Conv1D(4, 1, name="conv")
    nested = model_of(layers.Conv1D(2, 1), (None, 4))
    x = keras.Input((5, 4))
    y = conv(conv(Some()(x)))
    counted = cost(keras.Model(x, nested(y)))
    assert counted.not_counted == ("conv", nested.name)
    assert counted.macs == 0


def test_nested_shared_and_several_inputs(small):
    counted = cost(small)
    left, right = 8 * 10, 3 * 4
    # Which input is first is Keras' to say.
    assert [(row.name, row.params, row.macs) for row in counted.layers] == [
        ("encoder/conv", 27 * 8 + 8, right * 27 * 8),
        ("encoder/se", 42, 32 + right * 8),
        ("encoder/conv", 0, left * 27 * 8),
        ("encoder/se", 0, 32 + left * 8),
        ("shared", 72, right * 64),
        ("shared", 0, left * 64),
        ("bn", 64, 0),
        ("top", 34, 32),
    ]
    assert counted.params_total == small.count_params() == sum(r.params for r in counted.layers)
    assert (counted.se_params, counted.se_macs) == (42, 64 + 92 * 8)


def test_sizes_of_several_inputs(small):
    counted = cost(small, [(5, 6, 3), (10, 12, 3)])
    assert counted.macs == cost(small).macs
    assert cost(small, [(5, 6, 3), (5, 6, 3)]).macs < counted.macs


def test_time_distributed():
    conv = layers.Conv2D(4, 3, padding="same", name="conv")
    conv = layers.TimeDistributed(conv, name="frames")
    inner = model_of(SqueezeExcite(4, name="se"), (6, 6, 4))
    model = keras.Sequential(
        [keras.Input((5, 6, 6, 2)), conv, layers.TimeDistributed(inner, name="outer")]
    )
    counted = cost(model)
    assert [row.macs for row in counted.layers] == [5 * 36 * 9 * 8, 5 * (8 + 36 * 4)]
    assert [row.name for row in counted.layers] == ["frames/conv", f"outer/{inner.name}/se"]
    assert counted.se_macs == counted.layers[1].macs


def test_frames_in_the_batch():
    x = keras.Input((5, 6, 6, 2))
    y = layers.Conv2D(4, 3, padding="same")(ops.reshape(x, (-1, 6, 6, 2)))
    assert cost(keras.Model(x, ops.reshape(y, (-1, 5, 6, 6, 4)))).macs == 5 * 36 * 9 * 8


def test_batch_of_the_model():
    x = keras.Input(batch_shape=(8, 6, 6, 2))
    y = layers.Conv2D(4, 3, padding="same")(x)
    y = layers.Dense(5)(ops.reshape(y, (8, 144)))
    assert cost(keras.Model(x, y)).macs == 36 * 9 * 8 + 144 * 5


@pytest.mark.filterwarnings("ignore:.*does not support masking")
def test_masked_nested():
    nested = model_of(layers.Conv1D(2, 3, padding="same"), (None, 4))
    words = keras.Input((7,), dtype="int32")
    y = nested(layers.Embedding(10, 4, mask_zero=True)(words))
    assert cost(keras.Model(words, y)).macs == 7 * 3 * 8


@pytest.mark.parametrize("mode", ["int8", "int4", "float16", "lora"])
def test_precision(mode):
    policy = mode if mode == "float16" else None
    model = keras.Sequential([keras.Input((7,)), layers.Dense(6, dtype=policy)])
    if mode == "lora":
        model.layers[0].enable_lora(2)
    elif mode != "float16":
        model.layers[0].quantize(mode)
    assert cost(model).macs == 42


def test_deep():
    with recursion(5000):
        relus = [layers.ReLU() for _ in range(1100)]
        model = keras.Sequential([keras.Input((2,)), *relus, layers.Dense(2)])
    assert cost(model).macs == 4


def test_nothing_changes(small):
    def state(model):
        return (
            [
                (variable.path, keras.ops.convert_to_numpy(variable).tobytes())
                for variable in model.variables
            ],
            [id(layer.output) for layer in model.layers if layer.name in ("bn", "top")],
            json.dumps(model.get_config(), default=str),
            model.predict(pictures, verbose=0).tobytes(),
        )

    pictures = {
        name: np.random.default_rng(0).normal(size=(2, *size, 3)).astype("float32")
        for name, size in (("left", (10, 12)), ("right", (5, 6)))
    }
    before = state(small)
    gc.collect()
    variables = count_variables()
    counted = cost(small, [(20, 20, 3), (20, 20, 3)])
    assert count_variables() == variables
    assert state(small) == before
    assert cost(small, [(20, 20, 3), (20, 20, 3)]) == counted


def count_variables():
    return sum(issubclass(type(thing), keras.Variable) for thing in gc.get_objects())


def test_trace_keeps_types():
    words = keras.Input((7,), dtype="int32")
    graph = trace(keras.Model(words, words + 1))
    assert [x.dtype for x in graph.inputs + graph.outputs] == ["int32", "int32"]


def test_trace(small):
    graph = trace(small)
    names = [call.layer.name for call in graph.calls]
    assert names.count("encoder") == names.count("shared") == 2
    assert any(type(call.layer).__name__ == "Relu" for call in graph.calls)
    known = {id(x) for x in graph.inputs}
    for call in graph.calls:
        assert {id(x) for x in call.inputs} <= known
        known |= {id(x) for x in call.outputs}
    assert [x.shape for x in graph.inputs] == [(None, 10, 12, 3), (None, 5, 6, 3)]
    assert [x.shape for x in graph.outputs] == [(None, 2)]
    assert {id(x) for x in graph.outputs} <= known
    assert all(call.layer in small.layers for call in graph.calls if hasattr(call.layer, "weights"))


class Subclassed(keras.Model):
    """A model without a graph."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, x):
        return self.dense(x)


def called():
    model = Subclassed()
    model(np.ones((1, 3), "float32"))
    return model


OPEN = "`input_shape` must be given for a model with an input of unknown size"
FORM = (
    "`input_shape` must be integers of at least 1 in the form of the model's own, (None, None, 3)"
)
TAKES = "`input_shape` must fit every layer"


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (Subclassed, None, "`model` must be a functional or built Sequential `keras.Model`"),
        (called, None, "`model` must be a functional or built Sequential `keras.Model`"),
        (lambda: keras.Sequential([layers.Dense(2)]), None, "`model` must be a functional"),
        (lambda: layers.Dense(2), None, "`model` must be a functional"),
        (lambda: None, None, "Received: model of type NoneType"),
        (lambda: keras.Function(x := keras.Input((2,)), x + 1), None, "`model` must be"),
        ("open", None, OPEN),
        ("open", (32, 32), FORM),
        ("open", (None, None, 3), FORM),
        ("open", (32, 0, 3), FORM),
        ("open", (32, 32.5, 3), FORM),
        ("open", 32, FORM),
        ("open", (), FORM),
        ("open", "320", FORM),
        ("open", [(32, 32, 3), (32, 32, 3)], FORM),
        ("open", (32, 32, 4), f"{TAKES}; layer 'conv' rejects (1, 32, 32, 4)"),
        ("open", (3, 32, 3), f"{TAKES}; layer 'conv' rejects (1, 3, 32, 3)"),
        ("flat", (9, 8, 3), f"{TAKES}; layer 'top' rejects (1, 216)"),
    ],
)  # fmt: skip
def test_mistakes(model, shape, message):
    if isinstance(model, str):
        size = (None, None) if model == "open" else (8, 8)
        last = layers.GlobalAveragePooling2D() if model == "open" else layers.Flatten()
        first = [layers.Conv2D(3, 5, name="conv")] if model == "open" else []
        top = layers.Dense(2, name="top")
        model = keras.Sequential([keras.Input((*size, 3)), *first, last, top])
    else:
        model = model()
    with pytest.raises(ValueError, match="Received") as error:
        cost(model, shape)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_without_se():
    plain = cost(keras_se.SEResNet20(weights=None, se=None))
    with_se = cost(keras_se.SEResNet20(weights=None))
    assert (plain.se_params, plain.se_macs) == (0, 0)
    assert with_se.macs - with_se.se_macs == plain.macs
    assert with_se.params_total - with_se.se_params == plain.params_total


def test_no_squeeze():
    counted = cost(keras_se.SEResNet20(weights=None, se=SEConfig(squeeze=None)))
    plain = cost(keras_se.SEResNet20(weights=None))
    positions = 3 * (1024 * 2 * 16 * 1 + 256 * 2 * 32 * 2 + 64 * 2 * 64 * 4)
    once = 3 * (2 * 16 * 1 + 2 * 32 * 2 + 2 * 64 * 4)
    assert counted.macs - plain.macs == positions - once


def test_smaller_picture():
    model = keras_se.SEResNet20(weights=None)
    assert cost(model, (16, 16, 3)).macs < cost(model).macs / 3.9
    assert cost(model, [16, np.int64(16), 3]) == cost(model, (16, 16, 3))


# Million multiply-adds at the network's own size without SE and with it: counted from the
# authors' released definitions.
PAPER = {
    "SEResNet50": (3857.97, 3866.01),
    "SEResNeXt50": (4230.48, 4238.51),
    "SEMobileNet": (568.74, 571.93),
    "SEResNet20": (40.81, 40.90),
    "SEWRN16x8": (1548.15, 1548.69),
}
APPLICATIONS = {
    "MobileNet": 64,
    "MobileNetV2": 64,
    "MobileNetV3Small": 64,
    "VGG16": 32,
    "Xception": 71,
}
# These operations TensorFlow's profiler counts with two operations a multiply-add.
PROFILED = ("Conv2D", "DepthwiseConv2dNative", "MatMul")


PROFILED_NETWORKS = APPLICATIONS.keys() | PAPER.keys()
QUICK = {"MobileNet", "SEResNet20"}


@pytest.mark.parametrize("name", marked(sorted(PROFILED_NETWORKS), QUICK))
def test_beside_tensorflows_profiler(name):
    builder = getattr(keras.applications if name in APPLICATIONS else keras_se, name)
    model = builder(weights=None, include_top=False, pooling="avg", input_shape=(None, None, 3))
    size = APPLICATIONS.get(name, 64)
    counted = cost(model, (size, size, 3))
    scaling = sum(math.prod(row.output_shape) for row in counted.layers if row.squeeze_excite)
    if name == "SEResNeXt50" and not _tensorflow_groups_natively("float32"):
        pytest.skip("the profiler does not see Keras' grouped convolutions")
    assert 2 * (counted.macs - scaling) == sum(profile(model, size)[kind] for kind in PROFILED)
    assert counted.not_counted == ()
    assert counted.params_total == model.count_params() == sum(r.params for r in counted.layers)
    if name in PAPER:
        native, classes = (32, 10) if name in ("SEResNet20", "SEWRN16x8") else (224, 1000)
        counted = cost(model, (native, native, 3))
        head = model.output_shape[-1] * classes
        base, with_se = PAPER[name]
        assert (counted.macs + head - counted.se_macs) / 1e6 == pytest.approx(base, abs=0.0051)
        assert (counted.macs + head) / 1e6 == pytest.approx(with_se, abs=0.0051)


def profile(model, size):
    """Operations by kind, as TensorFlow's profiler counts them."""
    function = tf.function(lambda x: model(x, training=False))
    graph = function.get_concrete_function(tf.TensorSpec((1, size, size, 3))).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder(
        tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    )
    node = tf.compat.v1.profiler.profile(
        graph, cmd="op", options=options.with_empty_output().build()
    )
    kinds = dict.fromkeys(PROFILED, 0)
    while node.children:
        (node,) = node.children
        kinds[node.name] = node.float_ops
    return kinds


def counts():
    """Multiply-adds of every kind of layer and of two networks; on Torch its own count, too."""
    models = {name: model_of(build(), shape) for name, (build, shape, _, _) in KINDS.items()}
    for name in ("SEResNet20", "SEResNeXt50"):
        models[name] = getattr(keras_se, name)(weights=None, input_shape=(64, 64, 3))
    report = {}
    for name, model in models.items():
        counted = cost(model)
        scaling = sum(math.prod(row.output_shape) for row in counted.layers if row.squeeze_excite)
        flops = None
        if keras.backend.backend() == "torch":
            from torch.utils.flop_counter import FlopCounterMode

            with FlopCounterMode(display=False) as counter:
                model(np.zeros((1, *model.input_shape[1:]), "float32"), training=False)
            flops = counter.get_total_flops()
        report[name] = counted.macs, counted.macs - scaling, flops
    print(json.dumps(report))


@pytest.mark.backends
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(backend):
    done = subprocess.run(
        [sys.executable, __file__],
        env=environment(backend),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads(done.stdout.splitlines()[-1])
    for name, (macs, without_scaling, flops) in report.items():
        if name in KINDS:
            assert macs == KINDS[name][2], name
        if backend == "torch":
            assert flops == 2 * without_scaling, name


def test_table():
    text = str(cost(keras_se.SEResNet20(weights=None)))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "layer kind output parameters share multiply-adds share"
    assert lines[1] == "stem_conv Conv2D 32 x 32 x 16 432 0.16% 442,368 1.08%"
    assert lines[-3] == "attention blocks 2,373 0.86% 88,032 0.22%"
    assert lines[-2] == "total 276,415 100.00% 40,901,216 100.00%"
    assert lines[-1] == "trainable parameters: 274,847"
    assert all(line == line.rstrip() for line in text.splitlines())


def test_table_of_nothing():
    counted = cost(model_of(layers.ReLU(), (4,)))
    assert (counted.macs, counted.params_total, counted.layers) == (0, 0, ())
    assert "total" in str(counted)


def test_frozen():
    counted = cost(model_of(layers.Dense(2), (3,)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        counted.macs = 0
    assert hash(counted) == hash(cost(model_of(layers.Dense(2, name=counted.layers[0].name), (3,))))


def test_signature():
    names = [(p.name, p.default) for p in inspect.signature(cost).parameters.values()]
    assert names == [("model", inspect.Parameter.empty), ("input_shape", None)]
    assert isinstance(keras_se.cost, types.FunctionType)


def test_command(run):
    code, out, _ = run("cost", "SEResNet20")
    assert (code, out) == (0, f"{cost(keras_se.SEResNet20(weights=None))}\n")


def test_command_json(run):
    code, out, _ = run("cost", "SEResNet20", "--size", "24x16", "--plain", "--json")
    report = json.loads(out)
    expected = cost(keras_se.SEResNet20(weights=None, se=None), (24, 16, 3))
    assert code == 0
    assert report == json.loads(json.dumps(dataclasses.asdict(expected)))
    assert report["se_macs"] == 0
    assert report["layers"][0]["output_shape"] == [24, 16, 16]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["SEResNet21"], ["`name_or_path` must be a known name", "SEResNet20"]),
        (["SEResNet20", "--size", "large"], ["`size` must be", "'large'"]),
        (["SEResNet20", "--size", "4"], ["at least 8", "(4, 4, 3)"]),
    ],
)
def test_mistaken_command(run, arguments, words):
    assert_mistake(run("cost", *arguments), *words)


if __name__ == "__main__":
    counts()
