"""Networks such as people have: chains, branches, networks in networks, of every rank."""

import keras
import numpy as np
from keras import layers, ops


def leaves(model):
    """The layers of a model and of those in it."""
    for layer in getattr(model, "layers", [model]):
        within = isinstance(layer, keras.Model) and getattr(layer, "inputs", None)
        yield from leaves(layer) if within else [layer]


def random_values(model, seed=0):
    """Give anybody's model values such as a trained one has, which keep activations in bounds."""
    random = np.random.default_rng(seed)
    for layer in leaves(model):
        depthwise = isinstance(layer, layers.DepthwiseConv1D | layers.DepthwiseConv2D)
        for variable in layer.weights:
            shape = tuple(variable.shape)
            if "kernel" in variable.name:
                fan_in = np.prod(shape[: -2 if depthwise or "depth" in variable.name else -1])
                value = random.normal(0, np.sqrt(2 / fan_in), shape)
            elif variable.name.endswith(("gamma", "variance")):
                value = random.uniform(0.5, 1.5, shape)
            elif "int" in variable.dtype:
                continue
            else:
                value = random.uniform(-0.3, 0.3, shape)
            variable.assign(value)
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()
    return model


def pictures(model, seed=1, scale=1):
    """A batch of four for every input, in the structure of the inputs."""
    random = np.random.default_rng(seed)
    arrays = [
        (scale * random.normal(0, 1, (4, *(n or 12 for n in x.shape[1:])))).astype(x.dtype)
        for x in model.inputs
    ]
    return arrays[0] if len(arrays) == 1 else keras.tree.pack_sequence_as(model.input, arrays)


def evaluate(model, x):
    return [ops.convert_to_numpy(y) for y in keras.tree.flatten(model(x))]


def state(model):
    """All that a call could change of a model: values, flags, names, tensors, compilation."""
    tensors = []
    for layer in [layer for layer in leaves(model) if layer is not model]:
        try:
            tensors.append((layer.name, layer.trainable, id(layer.output)))
        except AttributeError as error:  # Ill-defined: the layer has several outputs.
            tensors.append((layer.name, layer.trainable, str(error)))
    flags = [(variable.path, variable.trainable) for variable in model.variables]
    # Keras draws random numbers while it builds a model.
    values = [ops.convert_to_numpy(variable).tobytes() for variable in model.variables]
    return model.name, tensors, flags, values, getattr(model, "optimizer", None)


def classifier(inputs, x):
    rank = len(x.shape)
    pools = {
        3: layers.GlobalAveragePooling1D,
        4: layers.GlobalAveragePooling2D,
        5: layers.GlobalAveragePooling3D,
    }
    return random_values(keras.Model(inputs, layers.Dense(3, name="head")(pools[rank]()(x))))


def conv(x, name, filters=16, **options):
    return layers.Conv2D(filters, 3, padding="same", name=name, **options)(x)


def channel_axis():
    return 1 if keras.config.image_data_format() == "channels_first" else -1


def conv_bn_relu(x, name, filters=16, **options):
    x = conv(x, f"{name}_conv", filters, use_bias=False)
    x = layers.BatchNormalization(channel_axis(), name=f"{name}_bn", **options)(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def chain(**options):
    inputs = layers.Input((8, 8, 3))
    return classifier(inputs, conv_bn_relu(conv_bn_relu(inputs, "a"), "b", **options))


def residual(shape=(8, 8, 3)):
    inputs = layers.Input(shape)
    x = conv_bn_relu(inputs, "stem")
    y = conv_bn_relu(x, "first")
    y = layers.BatchNormalization(channel_axis(), name="second_bn")(conv(y, "second_conv"))
    return classifier(inputs, layers.ReLU()(layers.Add()([y, x])))


def small(name="small", channels=16):
    inputs = layers.Input((8, 8, channels))
    return keras.Model(inputs, conv_bn_relu(inputs, "a"), name=name)


def operations():
    """Bare operations in place of layers."""
    inputs = x = layers.Input((8, 8, 16))
    for name in ("a", "b"):
        y = conv(ops.relu(conv(x, f"{name}1")), f"{name}2")
        x = ops.relu(x + y)
    return classifier(inputs, x)


def branches():
    inputs = x = layers.Input((8, 8, 16))
    for name in ("a", "b"):
        shortest = layers.Conv2D(16, 1, name=f"{name}1")(x)
        longest = conv(layers.ReLU()(conv(x, f"{name}2")), f"{name}3")
        x = layers.ReLU()(layers.Add()([x, longest, shortest]))
    return classifier(inputs, x)


def fused():
    inputs = layers.Input((8, 8, 3))
    x = conv(inputs, "a", activation="relu")
    return classifier(inputs, conv(x, "b", activation="leaky_relu"))


def sequential():
    return random_values(
        keras.Sequential(
            [
                layers.Input((8, 8, 3)),
                layers.Conv2D(16, 3, name="a"),
                layers.LeakyReLU(name="a_relu"),
                keras.Sequential([layers.Conv2D(16, 3, name="b"), layers.PReLU(name="b_relu")]),
                layers.GlobalAveragePooling2D(),
                layers.Dense(3),
            ]
        )
    )


def nested():
    """A network in a network in a network."""
    inputs = layers.Input((8, 8, 16))
    middle = keras.Model(inputs, conv_bn_relu(small()(inputs), "b"), name="middle")
    inputs = layers.Input((8, 8, 3))
    return classifier(inputs, conv_bn_relu(middle(conv_bn_relu(inputs, "a")), "c"))


def shared_convolution():
    inputs = layers.Input((8, 8, 16))
    shared = layers.Conv2D(16, 3, padding="same", activation="relu", name="a")
    return classifier(inputs, shared(shared(inputs)))


def shared_model():
    """Two inputs, two outputs of other names; one network called three times."""
    inputs = {name: layers.Input((8, 8, 16), name=name) for name in ("left", "right")}
    tower = small("tower")
    left, right = tower(tower(inputs["left"])), tower(inputs["right"])
    outputs = {
        "distance": layers.Subtract()([left, right]),
        "class": layers.Dense(3, name="class")(layers.GlobalAveragePooling2D()(left)),
    }
    return random_values(keras.Model(inputs, outputs))


def unet():
    inputs = x = layers.Input((None, None, 3))
    x = skip = conv_bn_relu(inputs, "down")
    x = conv_bn_relu(layers.MaxPooling2D()(x), "middle", 32)
    x = layers.Conv2DTranspose(16, 2, strides=2, name="up")(x)
    x = layers.Concatenate()([x, skip])
    x = conv_bn_relu(x, "out")
    mask = layers.Conv2D(1, 1, activation="sigmoid", name="mask")(x)
    return random_values(keras.Model(inputs, mask))


def autoencoder():
    inputs = layers.Input((8, 8, 16))
    encoder = keras.Model(inputs, layers.Flatten()(small()(inputs)), name="encoder")
    code = layers.Input((1024,))
    x = layers.Dense(4 * 4 * 16, activation="relu")(code)
    x = layers.Reshape((4, 4, 16))(x)
    x = layers.Conv2DTranspose(16, 3, strides=2, padding="same", activation="relu", name="up")(x)
    decoder = keras.Model(code, layers.Conv2D(3, 1, name="rgb", activation="tanh")(x))
    inputs = layers.Input((8, 8, 16))
    return random_values(keras.Model(inputs, decoder(encoder(inputs))))


def concatenation():
    inputs = layers.Input((8, 8, 3))
    pair = [conv(inputs, "a"), layers.BatchNormalization(name="b_bn")(conv(inputs, "b"))]
    x = layers.MaxPooling2D(name="pool")(layers.Concatenate(name="both")(pair))
    return classifier(inputs, layers.Activation("swish")(x))


def relu6():
    inputs = layers.Input((8, 8, 3))
    x = layers.ReLU(6, name="a6")(conv(inputs, "a"))
    x = layers.DepthwiseConv2D(3, name="b")(layers.ZeroPadding2D()(x))
    x = layers.ReLU(6, name="b6")(layers.BatchNormalization(name="b_bn")(x))
    x = layers.SeparableConv2D(16, 3, name="c")(x)
    return classifier(inputs, layers.ReLU(6, name="c6")(x))


def pooled_twice(first):
    """A pool shared by two calls, one behind the other, behind the convolution or before it."""
    inputs = x = layers.Input((16, 16, 16))
    pool = layers.AveragePooling2D(2, name="pool")
    x = conv(pool(pool(x)), "a") if first else pool(pool(conv(x, "a")))
    return classifier(inputs, layers.Activation("swish")(x))


def kinds(rank):
    convolution = (layers.Conv1D, layers.Conv2D, layers.Conv3D)[rank - 3]
    transpose = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)[rank - 3]
    inputs = layers.Input((None, *[6] * (rank - 3), 3))
    x = layers.ReLU(name="a_relu")(convolution(16, 3, padding="same", name="a")(inputs))
    x = transpose(16, 2, strides=2, name="b")(x)
    if rank < 5:
        separable = (layers.SeparableConv1D, layers.SeparableConv2D)[rank - 3]
        x = separable(16, 3, padding="same", name="c")(layers.ReLU(name="b_relu")(x))
        depthwise = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)[rank - 3]
        x = depthwise(2, name="d")(x)
    return classifier(inputs, x)


def normalised():
    inputs = layers.Input((8, 8, 3))
    x = layers.GroupNormalization(4, name="group")(conv(inputs, "a"))
    x = layers.Activation("gelu")(x)
    x = layers.LayerNormalization(name="layer")(conv(x, "b"))
    return classifier(inputs, layers.Activation("elu")(x))


def outputs():
    """Places that are outputs, and an input that is one."""
    inputs = layers.Input((8, 8, 3))
    x = conv_bn_relu(inputs, "a")
    return random_values(keras.Model(inputs, [x, conv(x, "b"), inputs]))


def own_gates():
    """A network that has Squeeze-and-Excitation of its own."""
    inputs = layers.Input((8, 8, 16))
    x = layers.BatchNormalization(name="a_bn")(conv(inputs, "a"))
    x = layers.Activation("swish")(x)
    s = layers.GlobalAveragePooling2D(keepdims=True)(x)
    s = layers.Conv2D(16, 1, activation="sigmoid", name="gate")(s)
    x = layers.BatchNormalization(name="b_bn")(conv(layers.Multiply()([x, s]), "b"))
    x = layers.Dropout(0.2, noise_shape=(None, 1, 1, 1))(x)
    return classifier(inputs, layers.Add()([x, inputs]))


def sequence():
    """Attention, a mask, a recurrent layer and one that calls another at every step."""
    inputs = layers.Input((16, 4))
    x = layers.Conv1D(16, 3, padding="same", activation="relu", name="a")(inputs)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 8)(x, x))
    y = layers.Dense(16, name="second")(layers.Dense(32, activation="gelu")(x))
    x = layers.Bidirectional(layers.GRU(4, return_sequences=True))(x + y)
    return random_values(keras.Model(inputs, layers.TimeDistributed(layers.Dense(3))(x)))


def prepared():
    """Preprocessing with statistics of its own."""
    normalise = layers.Normalization()
    normalise.adapt(np.random.default_rng(0).normal(3, 2, (9, 8, 8, 3)))
    inputs = layers.Input((8, 8, 3))
    x = layers.Resizing(12, 12)(layers.Rescaling(2.0, offset=1.0)(normalise(inputs)))
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(conv_bn_relu(x, "a")))
    return model


# A network, where blocks are put, None for the default, and the names of the blocks.
CASES = {
    "chain": (chain, None, ["a_relu_se", "b_relu_se"]),
    "residual": (residual, None, ["second_bn_se"]),
    "operations": (operations, None, ["a2_se", "b2_se"]),
    "branches": (branches, None, ["a3_se", "b3_se"]),
    "fused relu": (fused, None, ["a_se", "b_se"]),
    "sequential": (sequential, None, ["a_relu_se", "b_relu_se"]),
    "nested": (nested, None, ["a_relu_se", "a_relu_se", "b_relu_se", "c_relu_se"]),
    "shared convolution": (shared_convolution, None, ["a_se"]),
    "shared model": (shared_model, None, ["a_relu_se"]),
    "u-net": (unet, None, ["down_relu_se", "middle_relu_se", "up_se", "out_relu_se"]),
    "autoencoder": (autoencoder, None, ["a_relu_se", "up_se"]),
    "behind a concatenation": (concatenation, ["both"], ["both_se"]),
    "behind a pool": (concatenation, ["pool"], ["pool_se"]),
    "at every place of a chain": (
        concatenation,
        ["a", "b", "b_bn", "both", "pool"],
        ["b_se", "a_se", "b_bn_se", "both_se", "pool_se"],
    ),
    "ReLU6": (relu6, None, ["a_se", "c_se"]),
    "before a convolution": (relu6, ["a6", "b6"], ["a6_se", "b6_se"]),
    "before and behind": (
        relu6,
        ["a", "a6", "b", "b6", "c"],
        ["a_se", "a6_se", "b_se", "b6_se", "c_se"],
    ),
    "a shared pool behind": (lambda: pooled_twice(False), ["pool"], ["pool_se"]),
    "a shared pool before": (lambda: pooled_twice(True), ["pool"], ["pool_se"]),
    "1-D": (lambda: kinds(3), None, ["a_relu_se", "b_relu_se", "c_se"]),
    "2-D": (lambda: kinds(4), "^.$", ["a_se", "b_se", "c_se", "d_se"]),
    "3-D": (lambda: kinds(5), None, ["a_relu_se", "b_se"]),
    "normalisations": (normalised, None, ["group_se", "layer_se"]),
    "outputs": (outputs, None, ["a_relu_se", "b_se"]),
    "SE of its own": (own_gates, None, ["b_bn_se"]),
    "sequence": (sequence, None, ["second_se"]),
    "preprocessing": (prepared, None, ["a_relu_se"]),
    "a nested model": (nested, ["small"], ["small_se"]),
}
