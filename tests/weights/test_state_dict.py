"""`save_checkpoint` and `keras-se convert --to`: networks as publishers' state dicts."""

import json

import click.testing
import keras
import numpy as np
import published_files
import pytest
from places import PUBLISHED
from reference import trained_like
from safetensors import safe_open
from safetensors.numpy import load_file

import keras_se
from keras_se.cli import cli
from keras_se.weights.variable_file import named_variables

TIMM18 = {"stem_pool": "pad1", "hidden_divisor": 8}
SERESNEXT26T = {
    "blocks": (2, 2, 2, 2), "stem_pool": "pad1", "stem_widths": (24, 32, 64),
    "shortcut": "average_pool",
}  # fmt: skip
ECARESNET26T = {**SERESNEXT26T, "stride_on": "3x3"}
# Genuine files of PyTorch networks, whose names of tensors are the publishers'.
RECORDED = sorted(
    path for path in PUBLISHED.glob("*.*.npz") if path.stem.startswith(("timm.", "osmr_torch."))
)


@pytest.fixture(autouse=True)
def _clean_session():
    yield
    keras.backend.clear_session()


def small(**options):
    """A network for small images, of osmr's."""
    return trained_like(keras_se.SEResNet20(weights=None, **{"classes": 10, **options}), seed=1)


def assert_same_variables(model, expected):
    found, expected = named_variables(model), named_variables(expected)
    assert found.keys() == expected.keys()
    for name, variable in expected.items():
        np.testing.assert_array_equal(found[name], variable, err_msg=name)


def assert_comes_back(model, path, layout, name, **options):
    """The network, from the file that it was written to."""
    assert keras_se.save_checkpoint(model, path, layout=layout, **options) == name
    back = keras_se.load_checkpoint(path, layout=layout, model=name)
    assert_same_variables(back, model)
    return back


@pytest.mark.parametrize(
    ("builder", "options", "layout", "name"),
    [
        ("SEResNet20", {}, "osmr", "seresnet20_cifar"),
        *(
            pytest.param(*case, marks=pytest.mark.weights)
            for case in [
                ("SEResNet18", {"variant": TIMM18}, "timm", "seresnet18"),
                ("SEResNeXt50", {"variant": SERESNEXT26T}, "timm", "seresnext26t_32x4d"),
                (
                    "SEResNet50", {"variant": ECARESNET26T, "se": keras_se.ECAConfig()}, "timm",
                    "ecaresnet26t",
                ),
                ("SEResNetRS50", {}, "timm", "resnetrs50"),
                ("SEResNet34", {"variant": {"relu_before_se": True}}, "timm", "legacy_seresnet34"),
                (
                    "SENet154",
                    {"variant": {"blocks": (1, 1, 1, 1), "groups": 32, "stem_pool": "pad1"}},
                    "osmr", "senet16",
                ),
                (
                    "SEResNet18",
                    {"variant": {"preactivation": True, "stem_pool": "pad1"}}, "osmr",
                    "sepreresnet18",
                ),
            ]
        ),
    ],
)  # fmt: skip
def test_networks_come_back_bit_for_bit(builder, options, layout, name, tmp_path):
    model = getattr(keras_se, builder)(weights=None, classes=10, **options)
    trained_like(model, seed=1)
    assert_comes_back(model, tmp_path / "model.safetensors", layout, name)


@pytest.mark.weights
@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_files_come_back_bit_for_bit(file, tmp_path):
    recorded = published_files.read(file)
    layout = recorded.source.split("_")[0]
    model = keras_se.load_checkpoint(
        recorded.write(tmp_path), layout=layout, model=recorded.network
    )
    again = tmp_path / "again.safetensors"
    assert keras_se.save_checkpoint(model, again, layout=layout) == recorded.network
    written = load_file(again)
    counters = {name for name in written if name.endswith(".num_batches_tracked")}
    assert counters == {
        name.replace("running_mean", "num_batches_tracked")
        for name in recorded.shapes
        if name.endswith(".running_mean")
    }
    assert all(written[name].dtype == np.int64 and written[name] == 0 for name in counters)
    assert written.keys() - counters == recorded.values.keys()
    for name, array in recorded.values.items():
        np.testing.assert_array_equal(written[name], array, err_msg=name)
        assert written[name].dtype == np.float32
    with safe_open(again, "numpy") as opened:
        assert opened.metadata() == {"format": "pt"}


def test_other_channels_and_no_head(tmp_path):
    path = tmp_path / "model.safetensors"
    grey = small(input_shape=(28, 28, 1))
    assert_comes_back(grey, path, "osmr", "seresnet20_cifar")
    assert load_file(path)["features.init_block.conv.weight"].shape == (16, 1, 3, 3)
    headless = small(include_top=False)
    keras_se.save_checkpoint(headless, path, layout="osmr")
    assert not any(name.startswith("output") for name in load_file(path))


@pytest.mark.parametrize("nested", [False, True])
def test_own_classifier(nested, tmp_path):
    """A dense layer of the user's on a backbone, in one model or around it."""
    backbone = small(include_top=False, pooling="avg")
    x = backbone.inputs[0] if not nested else keras.Input((32, 32, 3))
    y = keras.layers.Dense(3, name="mine")(backbone(x) if nested else backbone.outputs[0])
    model, path = keras.Model(x, y), tmp_path / "model.safetensors"
    assert keras_se.save_checkpoint(model, path, layout="osmr") == "seresnet20_cifar"
    back = keras_se.load_checkpoint(
        path, layout="osmr", model="seresnet20_cifar", classifier_activation=None
    )
    pictures = np.random.default_rng(2).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(back(pictures), model(pictures))


def test_networks_without_a_description_need_a_name(tmp_path):
    model, path = small(include_preprocessing=False), tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match="`network` must be osmr's name of it"):
        keras_se.save_checkpoint(model, path, layout="osmr")
    assert_comes_back(model, path, "osmr", "seresnet20_cifar", network="seresnet20_cifar")


def test_what_only_training_uses_does_not_matter(tmp_path):
    model = small(variant={"stochastic_depth": 0.1, "zero_last_gamma": True})
    path = tmp_path / "model.safetensors"
    assert keras_se.save_checkpoint(model, path, layout="osmr") == "seresnet20_cifar"


WRONG = {
    "suffix": ({}, {"path": "model.pth"}, "`path` must end in .safetensors. Received: "),
    "layout": ({}, {"layout": "qubvel"}, "`layout` must be one of: 'osmr', 'timm'. Received: "),
    "network": ({}, {"network": "seresnet21_cifar"}, "Did you mean 'seresnet20_cifar'"),
    "another network": (
        {}, {"network": "seresnet56_cifar"}, "seresnet56_cifar, has blocks=(9, 9, 9). Received: ",
    ),
    "no such network": ({}, {"layout": "timm"}, "must be one of timm's networks; the nearest, "),
    "variant": (
        {"variant": {"shortcut": "zero_pad"}}, {}, "seresnet20_cifar, has shortcut=1x1. Received: ",
    ),
    "plain": ({"se": None}, {}, "seresnet20_cifar, has se=SEConfig(). Received: "),
    "ratio": ({"se": keras_se.SEConfig(ratio=4)}, {}, "has se=SEConfig(). Received: "),
    "signals": ({"input_shape": (64, 3)}, {}, "stem_conv/kernel: (3, 3, 3, 16) expected. Rec"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_errors_are_one_line_and_leave_nothing(name, tmp_path):
    options, arguments, words = WRONG[name]
    path = tmp_path / arguments.get("path", "model.safetensors")
    settings = {"layout": "osmr", **{k: v for k, v in arguments.items() if k != "path"}}
    with pytest.raises(ValueError, match="Received: ") as caught:
        keras_se.save_checkpoint(small(**options), path, **settings)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 300
    assert list(tmp_path.iterdir()) == []


def test_other_families_and_changed_networks(tmp_path):
    path = tmp_path / "model.safetensors"
    other = keras_se.SEMobileNet(weights=None, alpha=0.25)
    with pytest.raises(ValueError, match=r"one of timm's networks, .* Received: SEMobileNet"):
        keras_se.save_checkpoint(other, path, layout="timm")
    with pytest.raises(ValueError, match=r"stage3_block1_se/reduce_kernel.* Received: None"):
        keras_se.save_checkpoint(keras_se.drop_stage(small(), 3), path, layout="osmr")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        keras_se.save_checkpoint(other, tmp_path / "no" / "model.safetensors", layout="timm")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    from safetensors import SafetensorError, numpy

    def fail(*_, **__):
        raise SafetensorError("No space left on device")

    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    monkeypatch.setattr(numpy, "save_file", fail)
    with pytest.raises(OSError, match=r"model\.safetensors: cannot be written \(No space left"):
        keras_se.save_checkpoint(small(), path, layout="osmr")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def run(*arguments):
    return click.testing.CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_command(tmp_path):
    model, source, target = small(), tmp_path / "mine.keras", tmp_path / "mine.safetensors"
    model.save(source)
    result = run("convert", source, target, "--to", "osmr", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert report["network"] == "seresnet20_cifar"
    assert report["output_shape"] == [10]
    assert report["mean"] == [0.4914, 0.4822, 0.4465]
    back = tmp_path / "back.keras"
    result = run("convert", target, back, "--layout", "osmr", "--model", "seresnet20_cifar")
    assert result.exit_code == 0, result.output
    assert_same_variables(keras.saving.load_model(back), model)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give --model and --layout, or --to"),
        (("--model", "SEResNet18"), "give --model and --layout, or --to"),
        (("--to", "timm", "--layout", "timm"), "--to has neither --layout nor --verbose"),
        (("--to", "timm", "--verbose"), "--to has neither --layout nor --verbose"),
    ],
)
def test_options_that_do_not_go_together(arguments, words, tmp_path):
    result = run("convert", tmp_path / "a", tmp_path / "b", *arguments)
    assert result.exit_code == 2
    assert words in result.output
