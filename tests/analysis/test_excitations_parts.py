"""What is gathered for the report of the excitations: pictures, stages, sentences, colours."""

import itertools

import colour_vision
import keras
import numpy as np
import pytest
from excitation_networks import CLASSES, network, small

import keras_se
from keras_se.analysis.architecture import stages
from keras_se.analysis.extremes import KEPT, SIDE, Extremest
from keras_se.analysis.figure import STYLES
from keras_se.analysis.sentences import sentences
from keras_se.analysis.summary import BlockSummary

# The least difference of two colours that are told apart in thin lines; 2 is just seen in areas.
APART = 15


# The pictures


def test_extremes_of_any_batches_are_those_of_the_whole():
    random = np.random.default_rng(0)
    gates = {"a": random.random((200, 5)), "b": random.random((200, 3))}
    shown = random.integers(0, 256, (200, 7, 9, 3))
    labels = random.integers(-1, 4, 200)
    extremest = Extremest()
    for part in np.split(np.arange(200), [1, 4, 30, 31, 150]):
        extremest.add(
            {name: array[part] for name, array in gates.items()}, shown[part], labels[part]
        )
    found = extremest.found()
    assert found.thumbnails.shape[1:] == (9, 9, 3)
    assert len(found.thumbnails) <= 2 * 2 * KEPT
    for name, array in gates.items():
        scores = np.where(labels < 0, np.nan, array.mean(1))
        falling = np.argsort(-scores)[: (labels >= 0).sum()]
        expected = np.concatenate([falling[:KEPT], falling[-KEPT:]])
        np.testing.assert_allclose(found.gates[name], scores[expected], rtol=1e-12)
        own = found.order[name]
        np.testing.assert_array_equal(found.labels[own], labels[expected])
        # On a white square.
        np.testing.assert_array_equal(found.thumbnails[own][:, 1:-1], shown[expected])
        assert (found.thumbnails[own][:, [0, -1]] == 255).all()


def test_extremes_of_a_few_pictures_are_each_there_once():
    extremest = Extremest()
    scores = np.array([[0.2], [0.9], [0.5]])
    extremest.add({"a": scores}, np.zeros((3, 4, 4, 1)), np.arange(3))
    found = extremest.found()
    assert found.labels[found.order["a"]].tolist() == [1, 2, 0]


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize(
    ("values", "expected"),
    [((0, 51, 255), (0, 51, 255)), ((0, 0.2, 1), (0, 51, 255)), ((-2, -1.2, 2), (0, 51, 255))],
)
def test_thumbnails_are_what_people_see(values, expected, data_format):
    """Of pictures in 0..255, in 0..1, and around zero."""
    keras.config.set_image_data_format(data_format)
    picture = np.array(values).repeat(4).reshape(1, 3, 4, 1)
    try:
        extremest = Extremest()
        given = np.moveaxis(picture, -1, 1) if data_format == "channels_first" else picture
        extremest.add({"a": np.ones((1, 1))}, given, np.zeros(1, int))
    finally:
        keras.config.set_image_data_format("channels_last")
    rows = extremest.found().thumbnails[0, :3, 0, 0]
    np.testing.assert_array_equal(rows, expected)


def test_large_pictures_and_none():
    extremest = Extremest()
    extremest.add({"a": np.ones((1, 1))}, np.zeros((1, 5, 8)), np.zeros(1, int))
    extremest.add({"a": np.ones((1, 1))}, {"one": np.zeros((1, 5, 8, 3))}, np.zeros(1, int))
    extremest.add({"a": np.ones((1, 1))}, np.zeros((1, 5, 8, 4)), np.zeros(1, int))
    assert extremest.found() is None
    extremest.add({"a": np.ones((1, 1))}, np.zeros((1, 301, 200, 3)), np.zeros(1, int))
    assert extremest.found().thumbnails.shape == (1, SIDE, SIDE, 3)


# What is beside the figures


@pytest.mark.parametrize("name", ["SEResNet20", "SEVGG16", "own"])
def test_stages(name):
    if name == "own":
        model = keras_se.add_squeeze_excite(network(se=None))
        model = keras.Model(model.input, keras.layers.Softmax(name="last")(model.output))
    elif name == "SEVGG16":
        model = keras_se.SEVGG16(weights=None, input_shape=(32, 32, 3), include_top=False)
    else:
        model = keras_se.SEResNet20(weights=None)
    counted = keras_se.cost(model)
    found = stages(counted)
    for figure in ("params", "macs", "se_params", "se_macs"):
        expected = getattr(counted, "params_total" if figure == "params" else figure)
        assert expected == sum(getattr(stage.whole, figure) for stage in found)
        assert expected == sum(getattr(part, figure) for stage in found for part in stage.blocks)
    names = [stage.whole.name for stage in found]
    if name == "SEResNet20":
        assert names == ["stem", "stage 2", "stage 3", "stage 4", "predictions"]
        assert [part.name for part in found[1].blocks] == ["block 1", "block 2", "block 3"]
        assert found[2].whole.output_shape == (16, 16, 32)
        assert found[3].blocks[2].squeeze_excite == ("stage4_block3_se",)
    if name == "SEVGG16":
        assert found[0].blocks[1].name == "stage1_conv2 … stage1_se2"


def test_stages_of_layers_with_other_names():
    """Feature maps of one size; a block ends with its gates."""
    counted = keras_se.cost(small())
    found = stages(counted)
    names = [[part.name for part in stage.blocks] for stage in found]
    assert [part[-1].endswith(end) for part, end in zip(names, ("one", "two"), strict=False)]
    assert [stage.whole.output_shape for stage in found] == [(16, 15, 8), (7, 7, 8), (CLASSES,)]


def rows(*figures):
    """Blocks with such shares above 0.9 and ratios."""
    return [
        BlockSummary(f"SE_{n}", f"se{n}", 8, 0.5, high, 0.0, 0.1, 0.1, ratio)
        for n, (high, ratio) in enumerate(figures)
    ]


@pytest.mark.parametrize(
    ("figures", "stages", "expected"),
    [
        # As in the paper: 2, 2, 3, 3, 4, 4, 4.
        (
            [(0, 9), (0, 0.1), (0, 0), (0, 2), (0, 3), (0.8, 0), (0, 0)],
            [2, 2, 3, 3, 4, 4, 4],
            [True, True, True],
        ),
        (
            [(0, 0), (0, 1.5), (0, 9), (0, 0.5), (0, 3), (0.4, 9), (0.9, 9)],
            [2, 2, 3, 3, 4, 4, 4],
            [False, False, False],
        ),
        ([(0, 0.1), (0.6, 0), (0, 2)], [None, None, None], [True, True, True]),
        ([(0, None), (0, 1), (0, None)], [2, 3, 4], [None, None, False]),
        ([(0.9, 0.1)], [2], [True, None, None]),
    ],
)
def test_sentences(figures, stages, expected):
    assert [sentence.holds for sentence in sentences(rows(*figures), stages)] == expected


@pytest.mark.parametrize("vision", colour_vision.VISIONS)
def test_colours_are_told_apart(vision):
    """Those of the classes, of all classes, and the paper's white."""
    colours = [colour for colour, *_ in STYLES]
    for one, other in itertools.combinations([*colours, "#000000", "#ffffff"], 2):
        assert colour_vision.difference(one, other, vision) > APART, (one, other)


def test_colour_vision_is_that_of_the_literature():
    """A red and a green are alike without the cones of green; black and white never are."""
    for vision in colour_vision.VISIONS:
        assert colour_vision.difference("#000000", "#ffffff", vision) == pytest.approx(100, abs=1)
    assert colour_vision.difference("#b05050", "#508050") > 50
    assert colour_vision.difference("#b05050", "#6e6e00", "deuteranopia") < 30
