"""The command line, what is imported when, and the public names with their signatures."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import inspect
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from command_line import Run, assert_mistake
from PIL import Image

import keras_se
from keras_se import SEConfig
from keras_se.labels import class_names
from keras_se.weights import entries, variable_file

PACKAGE = Path(keras_se.__file__).parent
NAME = "se_resnet20.fashion_mnist"
MEAN, STD = 0.286, 0.353
SLOW_IMPORTS = ("keras", "tensorflow", "jax", "torch", "h5py")
# Two computations of the same float32 network; the command prints the scores in full.
SCORE_TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """What the set is: it takes normalised pictures and has random weights."""
    keras.utils.set_random_seed(1)
    return keras_se.SEResNet20(weights=None, input_shape=(28, 28, 1), include_preprocessing=False)


@pytest.fixture(scope="module")
def entry(network: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> keras_se.Weights:
    """A set of weights whose file exists."""
    path = tmp_path_factory.mktemp("set") / "set.h5"
    variable_file.write_variables(network, path)
    return dataclasses.replace(
        entries.get_weights(NAME),
        file=str(path),
        sha=f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}",
        preprocessing=entries.Preprocessing(28, 1.0, "bilinear", (MEAN,), (STD,)),
        metrics=(entries.Metric("top1", 0.125, "fashion_mnist", "test", True),),
    )


@pytest.fixture
def registry(entry: keras_se.Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry with that one set."""
    monkeypatch.setattr(entries, "_registry", lambda: {NAME: entry})


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Three good pictures."""
    paths = [tmp_path / f"{name}.png" for name in ("boot", "bag", "coat")]
    for seed, path in enumerate(paths):
        pixels = np.random.default_rng(seed).integers(0, 256, (28, 28), "uint8")
        Image.fromarray(pixels).save(path)
    return paths


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A fresh Python process that runs `code`."""
    path = os.pathsep.join(filter(None, (str(PACKAGE.parent), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_list(run: Run, registry: None) -> None:
    code, out, err = run("list")
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()[1:]]
    assert [row[0] for row in rows] == keras_se.list_models()
    assert {row[0]: row[1:] for row in rows if row[1] != "0"} == {"SEResNet20": ["1", NAME]}


def test_list_json(run: Run, registry: None, entry: keras_se.Weights) -> None:
    code, out, err = run("list", "--json")
    assert (code, err) == (0, "")
    listed = json.loads(out)
    assert list(listed) == keras_se.list_models()
    assert [model for model in listed if listed[model]] == ["SEResNet20"]
    assert listed["SEResNet20"] == [json.loads(json.dumps(dataclasses.asdict(entry)))]


def test_list_without_sets(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "_registry", dict)
    code, out, _ = run("list")
    assert code == 0
    assert [line.split() for line in out.splitlines()[1:]] == [
        [model, "0"] for model in keras_se.list_models()
    ]


def test_info(run: Run, registry: None) -> None:
    code, out, _ = run("info", "SEResNet20")
    assert code == 0
    rows = [line.split(maxsplit=1) for line in out.splitlines() if line.strip()]
    found = {row[0]: row[-1].strip() for row in rows}
    expected = {
        "model": "SEResNet20",
        "params_trainable": "274,847",
        "params_total": "276,415",
        "squeeze_excite_blocks": "9",
    }
    assert {key: found[key] for key in expected} == expected
    (row,) = (line.split() for line in out.splitlines() if line.startswith(NAME))
    assert row == [
        NAME,
        "fashion_mnist",
        "yes",
        "12.50%",
        "measured",
        "28",
        "274,559",
        "Apache-2.0",
    ]


def test_info_of_a_set(run: Run, registry: None, entry: keras_se.Weights) -> None:
    code, out, _ = run("info", NAME)
    assert code == 0
    found = dict(line.split(maxsplit=1) for line in out.splitlines() if len(line.split()) > 1)
    assert found["name"].strip() == NAME
    assert found["top1"].strip() == "0.125 on fashion_mnist test (measured)"
    code, out, _ = run("info", NAME, "--json")
    assert json.loads(out) == json.loads(json.dumps(dataclasses.asdict(entry)))


def test_info_json(run: Run, registry: None, entry: keras_se.Weights) -> None:
    code, out, _ = run("info", "SEResNet20", "--json")
    assert code == 0
    assert json.loads(out) == {
        "model": "SEResNet20",
        "name": "se_resnet20",
        "input_shape": [32, 32, 3],
        "classes": 10,
        "params_trainable": 274_847,
        "params_total": 276_415,
        "squeeze_excite_blocks": 9,
        "weights": [json.loads(json.dumps(dataclasses.asdict(entry)))],
    }


def expected_scores(network: keras.Model, paths: list[Path]) -> np.ndarray:
    x = np.stack([np.asarray(Image.open(path), "float32") for path in paths])[..., None]
    return network.predict((x / 255 - MEAN) / STD, verbose=0)


@pytest.mark.parametrize("top", [None, 1, 20])
def test_predict_json(
    run: Run, registry: None, network: keras.Model, pictures: list[Path], top: int | None
) -> None:
    options = [] if top is None else ["--top", top]
    code, out, _ = run("predict", *pictures, "--weights", NAME, "--json", *options)
    assert code == 0
    report = json.loads(out)
    assert [entry["image"] for entry in report] == [str(path) for path in pictures]
    for scores, entry in zip(expected_scores(network, pictures), report, strict=True):
        rows = entry["predictions"]
        best = np.argsort(-scores)[: top or 5]
        names = [class_names("fashion_mnist")[index] for index in best]
        assert [(row["class_id"], row["label"]) for row in rows] == names
        received = [row["score"] for row in rows]
        np.testing.assert_allclose(received, scores[best], rtol=0, atol=SCORE_TOLERANCE)


def test_predict(run: Run, registry: None, network: keras.Model, pictures: list[Path]) -> None:
    code, out, _ = run("predict", *pictures, "--weights", NAME, "--top", 2)
    assert code == 0
    lines = out.splitlines()
    assert lines[::3] == [str(path) for path in pictures]
    for index, scores in enumerate(expected_scores(network, pictures)):
        for rank, best in enumerate(np.argsort(-scores)[:2], start=1):
            share, label = lines[3 * index + rank].split(maxsplit=1)
            assert label == class_names("fashion_mnist")[best][1]
            assert float(share.rstrip("%")) == pytest.approx(100 * scores[best], abs=0.06)


def test_predict_draws_heat_maps(
    run: Run, registry: None, network: keras.Model, pictures: list[Path], tmp_path: Path
) -> None:
    path = tmp_path / "maps.png"
    assert run("predict", *pictures, "--weights", NAME, "--heatmap", path)[0] == 0
    with Image.open(path) as image:
        drawn = np.asarray(image)
    # A row per picture; on its left the picture without colour.
    assert drawn.shape == (len(pictures) * 224, 2 * 224, 3)
    assert np.ptp(drawn[:, :200].astype(int), axis=-1).max() <= 1
    assert np.ptp(drawn[:, 224:].astype(int), axis=-1).max() > 50
    assert not list(tmp_path.glob("*.tmp"))
    result = run("predict", pictures[0], "--weights", NAME, "--heatmap", tmp_path / "maps.gif")
    assert_mistake(result, "`heatmap` must be a .png file", "maps.gif")
    result = run("predict", pictures[0], "--weights", NAME, "--heatmap", tmp_path / "no" / "m.png")
    assert_mistake(result, "in an existing folder")


def test_predict_converts_unless_strict(run: Run, registry: None, pictures: list[Path]) -> None:
    colour = pictures[0].with_name("colour.png")
    Image.open(pictures[0]).convert("RGB").save(colour)
    arguments = ("predict", colour, pictures[0], "--weights", NAME, "--json")
    assert_mistake(run(*arguments, "--strict"), colour, "expected a grey picture", "RGB")
    code, out, _ = run(*arguments)
    assert code == 0
    first, second = (entry["predictions"] for entry in json.loads(out))
    for one, other in zip(first, second, strict=True):
        # Rows of a batch are summed in another order.
        assert one.pop("score") == pytest.approx(other.pop("score"), abs=1e-6)
        assert one == other


MISTAKES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "unknown command": (("serve",), ("serve",)),
    "nearly a command": (("lst",), ("lst", "'list'")),
    "unknown option": (("list", "--jsn"), ("--jsn", "--json")),
    "one argument too many": (("list", "SEResNet20"), ("SEResNet20",)),
    "line break in an argument": (("list", "two\nlines"), ("two",)),
    "no model": (("info",), ("MODEL",)),
    "no height": (("cost", "SEVGG16", "--size", "0x5"), ("'0x5'", "HEIGHTxWIDTH")),
    "nothing to download": (("download", "SEVGG16"), ("'SEVGG16'", "has none")),
    "unknown model": (("info", "VGG16"), ("'VGG16'", "'SEVGG16'")),
    "nearly a model": (("info", "SEResnet20"), ("Did you mean 'SEResNet20'?",)),
    "line break in a model": (("info", "SE\nResNet20"), ("model",)),
    "no image": (("predict", "--weights", NAME), ("IMAGE",)),
    "no weights": (("predict", "boot.png"), ("--weights",)),
    "unknown weights": (("predict", "boot.png", "--weights", "none"), ("'none'", "known name")),
    "nearly weights": (
        ("predict", "boot.png", "--weights", "se_resnet20.fashion"),
        (f"Did you mean {NAME!r}?",),
    ),
    "missing image": (
        ("predict", "absent.png", "--weights", NAME), ("absent.png", "No such file"),
    ),
    "no classes": (("predict", "boot.png", "--weights", NAME, "--top", "0"), ("--top", "0")),
    "classes in words": (("predict", "a.png", "--weights", NAME, "--top", "all"), ("'all'",)),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(run: Run, registry: None, name: str) -> None:
    arguments, words = MISTAKES[name]
    assert_mistake(run(*arguments), *words)


def test_without_a_command(run: Run) -> None:
    code, out, err = run()
    if code:
        assert_mistake((code, out, err), "Missing command")
    else:
        assert err == ""
        assert out.startswith("Usage")
        assert "predict" in out


BAD_PICTURES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"two\nlines\n",
    "truncated": lambda: b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0",
}


@pytest.mark.parametrize("position", [0, 1, 3])
@pytest.mark.parametrize("name", BAD_PICTURES)
def test_bad_picture_among_good_ones(
    run: Run, registry: None, pictures: list[Path], name: str, position: int
) -> None:
    bad = pictures[0].with_name("bad.png")
    bad.write_bytes(BAD_PICTURES[name]())
    pictures.insert(position, bad)
    assert_mistake(run("predict", *pictures, "--weights", NAME), bad, "expected", "Received")


def test_missing_picture_among_good_ones(
    run: Run, registry: None, pictures: list[Path], tmp_path: Path
) -> None:
    result = run("predict", pictures[0], tmp_path / "absent.png", "--weights", NAME)
    assert_mistake(result, tmp_path / "absent.png")


COMMAND = "from keras_se.cli import main; main()"
WITH_REGISTRY = """
import pickle, sys
from keras_se.weights import entries
with open(sys.argv.pop(1), "rb") as file:
    entry = pickle.load(file)
entries._registry = lambda: {entry.name: entry}
from keras_se.cli import main
main()
"""


def test_mistake_in_a_process() -> None:
    done = python(COMMAND, "info", "SEResnet50")
    assert_mistake((done.returncode, done.stdout, done.stderr), "Did you mean 'SEResNet50'?")


def test_damaged_tiff_in_a_process(
    entry: keras_se.Weights, pictures: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "entry").write_bytes(pickle.dumps(entry))
    bad = tmp_path / "bad.tiff"
    Image.open(pictures[0]).save(bad)
    bad.write_bytes(bad.read_bytes()[:40])
    done = python(WITH_REGISTRY, tmp_path / "entry", "predict", bad, "--weights", NAME)
    assert_mistake((done.returncode, done.stdout, done.stderr), bad)


def test_damaged_weights_in_a_process(
    entry: keras_se.Weights, pictures: list[Path], tmp_path: Path
) -> None:
    damaged = dataclasses.replace(entry, sha="sha256:" + "0" * 64)
    (tmp_path / "entry").write_bytes(pickle.dumps(damaged))
    done = python(WITH_REGISTRY, tmp_path / "entry", "predict", pictures[0], "--weights", NAME)
    assert_mistake((done.returncode, done.stdout, done.stderr), "sha256", entry.file)


IMPORTED = f"""
import sys
import zipfile
sys.argv[0] = "keras-se"
try:
    from keras_se.cli import main
    main()
finally:
    print(*sorted(set({SLOW_IMPORTS}) & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--help"], "predict"),
        (["-h"], "predict"),
        (["predict", "--help"], "--weights"),
        (["doctor", "--help"], "--network"),
        (["verify", "--help"], "--all"),
        (["--version"], keras_se.__version__),
        (["list"], "SEResNet50"),
        (["list", "--json"], "SEResNet50"),
    ],
    ids=" ".join,
)
def test_starts_without_a_backend(arguments: list[str], shown: str) -> None:
    done = python(IMPORTED, *arguments)
    assert done.returncode == 0
    assert shown in done.stdout
    assert done.stderr.strip() == ""


@pytest.mark.parametrize("model", ["SEResnet50", "nothing"])
def test_a_mistake_is_found_without_a_backend(model: str) -> None:
    done = python(IMPORTED, "info", model)
    assert done.returncode == 2
    assert not set(SLOW_IMPORTS) & set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "statement",
    [
        "import keras_se",
        "from keras_se import decode_predictions, list_models, load_image",
        "import keras_se; keras_se.list_weights(); keras_se.list_models()",
    ],
)
def test_import_without_a_backend(statement: str) -> None:
    done = python(
        f"{statement}\nimport sys; print(*sorted(set({SLOW_IMPORTS}) & set(sys.modules)))"
    )
    assert (done.returncode, done.stdout.strip()) == (0, "")


@pytest.mark.parametrize("order", ["keras_se, keras", "keras, keras_se"])
def test_a_saved_model_loads_after_the_imports_alone(tmp_path: Path, order: str) -> None:
    x = keras.Input((6, 6, 8))
    y = keras_se.layers.GroupedConv2D(8, 3, groups=2)(keras_se.SqueezeExcite(4)(x))
    model = keras.Model(x, y)
    model.save(tmp_path / "saved.keras")
    pictures = np.random.default_rng(0).random((2, 6, 6, 8), "float32")
    np.save(tmp_path / "pictures.npy", pictures)
    code = f"""
import sys
import zipfile
import {order}
import numpy as np
folder = sys.argv[1]
model = keras.saving.load_model(folder + "/saved.keras")
np.save(folder + "/received.npy", model.predict(np.load(folder + "/pictures.npy"), verbose=0))
print(*(type(layer).__module__.split(".")[0] for layer in model.layers))
"""
    done = python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["keras", "keras_se", "keras_se"]
    np.testing.assert_allclose(
        np.load(tmp_path / "received.npy"), model.predict(pictures, verbose=0), rtol=0, atol=1e-5
    )


# The builders with the defaults of `weights`, `classes` and `name`.
BUILDERS = {
    "SEBNInception": ("imagenet", "se_bn_inception"),
    "SEDenseNet121": ("imagenet_backbone", "se_densenet121"),
    "SEDenseNet169": ("imagenet_backbone", "se_densenet169"),
    "SEDenseNet201": ("imagenet_backbone", "se_densenet201"),
    "SEInceptionResNetV2": ("imagenet_backbone", "se_inception_resnet_v2"),
    "SEInceptionV3": ("imagenet_backbone", "se_inception_v3"),
    "SEMobileNet": ("imagenet_backbone", "se_mobilenet"),
    "SENet154": ("imagenet", "senet154"),
    "SEPreResNet110": ("cifar10", "se_preresnet110"),
    "SEPreResNet164": ("cifar10", "se_preresnet164"),
    "SEResNeXt50": ("imagenet", "se_resnext50"),
    "SEResNeXt101": ("imagenet", "se_resnext101"),
    "SEResNet18": ("imagenet", "se_resnet18"),
    "SEResNet20": ("cifar10", "se_resnet20"),
    "SEResNet32": (None, "se_resnet32"),
    "SEResNet34": ("imagenet", "se_resnet34"),
    "SEResNet44": (None, "se_resnet44"),
    "SEResNet50": ("imagenet", "se_resnet50"),
    "SEResNet56": ("cifar10", "se_resnet56"),
    "SEResNet101": ("imagenet", "se_resnet101"),
    "SEResNet110": ("cifar10", "se_resnet110"),
    "SEResNet152": ("imagenet", "se_resnet152"),
    "SEResNetRS50": ("imagenet", "se_resnetrs50"),
    "SEResNetRS101": ("imagenet", "se_resnetrs101"),
    "SEResNetRS152": ("imagenet", "se_resnetrs152"),
    "SEResNetRS200": ("imagenet", "se_resnetrs200"),
    "SEResNetRS270": ("imagenet", "se_resnetrs270"),
    "SEResNetRS350": ("imagenet", "se_resnetrs350"),
    "SEResNetRS420": ("imagenet", "se_resnetrs420"),
    "SEShakeShake26": (None, "se_shake_shake26"),
    "SEShakeShake29": (None, "se_shake_shake29"),
    "SEShuffleNet": (None, "se_shufflenet"),
    "SEVGG16": (None, "se_vgg16"),
    "SEWRN16x8": (None, "se_wrn16x8"),
}


# Keyword arguments of their own.
OPTIONS = {"SEMobileNet": {"alpha": 1.0}, "SEShuffleNet": {"groups": 3, "scale": 1.0}}


def parameters(function: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
    found = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in found]


def builder_signature(weights: str | None, name: str) -> Callable[..., Any]:
    default_se = SEConfig(ratio=4) if name.startswith("se_resnetrs") else SEConfig()

    def build(
        include_top=True, weights=weights, input_tensor=None, input_shape=None, pooling=None,
        classes=None, classifier_activation="softmax", include_preprocessing=True, name=name,
        *, se=default_se, variant=None,
    ):  # fmt: skip
        pass

    return build


def se_config(
    ratio=16, squeeze="avg", gate="sigmoid", activation="relu", use_bias=True,
    placement="standard", stages=None,
):  # fmt: skip
    pass


def squeeze_excite(
    ratio=16, *, squeeze="avg", gate="sigmoid", activation="relu", use_bias=True,
    hidden_units=None, data_format=None, **layer_kwargs,
):  # fmt: skip
    pass


def decode_predictions(preds, top=5, weights_or_model=None):
    pass


def preprocess_input(x, data_format=None):
    pass


def load_image(path_or_bytes, weights_or_model, *, strict=False):
    pass


def list_models():
    pass


def list_weights(model=None):
    pass


SIGNATURES = {
    "SEConfig": se_config,
    "SqueezeExcite": squeeze_excite,
    "decode_predictions": decode_predictions,
    "list_models": list_models,
    "list_weights": list_weights,
    "load_image": load_image,
    "preprocess_input": preprocess_input,
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name: str) -> None:
    assert parameters(getattr(keras_se, name)) == parameters(SIGNATURES[name])


def test_all_builders_have_a_pinned_signature() -> None:
    assert keras_se.list_models() == list(BUILDERS)


@pytest.mark.parametrize("builder", keras_se.list_models())
def test_builder_signature(builder: str) -> None:
    function = getattr(keras_se, builder)
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [(name, keyword, value) for name, value in OPTIONS.get(builder, {}).items()]
    assert parameters(function) == [*parameters(builder_signature(*BUILDERS[builder])), *own]
    assert (function.__module__, function.__name__) == ("keras_se", builder)
    assert f"keras_se.{builder}(" in function.__doc__


def test_fields_of_an_entry() -> None:
    public = {
        "name", "model", "dataset", "url", "sha", "revision", "licence", "preprocessing", "metrics",
        "params_trainable", "params_total",
    }  # fmt: skip
    assert public <= {field.name for field in dataclasses.fields(keras_se.Weights)}


def test_se_config_is_frozen_and_hashable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SEConfig().ratio = 8  # type: ignore[misc]
    assert SEConfig(stages=[2, 3]) == SEConfig(stages=(2, 3))
    assert hash(SEConfig(stages=[2, 3])) == hash(SEConfig(stages=(2, 3)))


def stub_names(stub: Path) -> dict[str, str | None]:
    """The names that a stub imports, with the modules that they come from."""
    tree = ast.parse(stub.read_text("utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name: node.module for node in imports for alias in node.names}


@pytest.mark.parametrize("module", [keras_se, keras_se.models], ids=lambda module: module.__name__)
def test_all_names_of_the_stub_resolve(module: Any) -> None:
    names = stub_names(Path(module.__file__).with_suffix(".pyi"))
    assert len(names) > len(BUILDERS)
    assert sorted(module.__all__) == sorted(names)
    assert set(names) <= set(dir(module))
    for name in names:
        value = getattr(module, name)
        assert callable(value) or inspect.ismodule(value)
        assert value.__name__.rpartition(".")[2] == name


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="SEResNet51"):
        _ = keras_se.SEResNet51


def test_models_of_the_stub_are_the_models() -> None:
    names = stub_names(PACKAGE / "__init__.pyi")
    builders = {name for name, module in names.items() if module == "models"} - {
        "list_models",
        "list_weights",
    }
    assert builders == set(keras_se.list_models())


UNSET: dict[str, tuple[str, ...]] = {
    "export to": ("export", NAME, ""),
    "export from": ("export", "", "served"),
    "evaluate": ("evaluate", ""),
    "evaluate on": ("evaluate", NAME, "--data", ""),
    "excitations of": ("excitations", "", "folder"),
    "excitations on": ("excitations", NAME, ""),
    "excitations saved to": ("excitations", NAME, "--save", ""),
    "excitations drawn to": ("excitations", NAME, "--plot", ""),
    "excitations written to": ("excitations", NAME, "--html", ""),
    "predict with": ("predict", "a/0.png", "--weights", ""),
    "predict": ("predict", "", "--weights", NAME),
    "cost": ("cost", ""),
    "info": ("info", ""),
    "download": ("download", ""),
    "benchmark": ("benchmark", ""),
    "train": ("train", ""),
    "train to": ("train", "finetune", "--run", ""),
    "train on": ("train", "finetune", "--set", "data_dir="),
    "convert to": ("convert", "x.pth", "", "--layout", "timm", "--model", "SEResNet18"),
}


@pytest.mark.parametrize("name", UNSET)
def test_variable_of_a_shell_that_is_not_set(
    run: Run, registry: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """An empty argument is not the working directory."""
    (tmp_path / "a").mkdir()
    Image.new("L", (28, 28)).save(tmp_path / "a" / "0.png")
    monkeypatch.chdir(tmp_path)
    assert_mistake(run(*UNSET[name]), "''" if name != "convert to" else "DST")
    assert [str(path) for path in sorted(Path().rglob("*"))] == ["a", "a/0.png"]


def test_picture_whose_name_is_not_utf_8(
    run: Run, registry: None, network: keras.Model, pictures: list[Path]
) -> None:
    """JSON and tables stay UTF-8."""
    path = Path(os.fsdecode(os.fsencode(pictures[0].parent) + b"/\xff.png"))
    pictures[0].rename(path)
    code, out, _ = run("predict", path, "--weights", NAME, "--json")
    assert code == 0
    assert json.loads(out)[0]["image"] == f"{path.parent}/\ufffd.png"
    code, out, _ = run("predict", path, "--weights", NAME)
    assert code == 0
    assert out.splitlines()[0] == f"{path.parent}/\ufffd.png"
    path.write_bytes(b"no picture")
    assert_mistake(run("predict", path, "--weights", NAME), "undamaged picture")


@pytest.mark.parametrize(
    "command", ["cost", "evaluate", "export", "excitations", "predict", "info"]
)
def test_keras_file_of_many_brackets(run: Run, pictures: list[Path], command: str) -> None:
    path = pictures[0].with_name("deep.keras")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            deep = name == "config.json"
            archive.writestr(name, "[" * 200_000 + "]" * 200_000 if deep else content)
    arguments: dict[str, tuple[object, ...]] = {
        "evaluate": (path, "--data", path.parent),
        "export": (path, path.with_name("served")),
        "excitations": (path, path.parent),
        "predict": (pictures[1], "--weights", path),
    }
    result = run(command, *arguments.get(command, (path,)))
    assert_mistake(result, f"{path}: expected a Keras model")
