"""Training with masks: the data, the run that goes on bit for bit, and what the commands do."""

import json
import os

import keras
import mask_folders
import numpy as np
import pytest
import training_runs
from command_line import assert_mistake
from PIL import Image

import keras_se
from keras_se.commands._output import flat
from keras_se.data.mask_files import colour_map, mask_size, overlay, read_mask
from keras_se.recipes import get_recipe
from keras_se.segmentation.predicting import predict_mask
from keras_se.training.mask_batches import random_box
from keras_se.training.mask_figures import PixelCrossentropy, overlaps, pixel_accuracy
from keras_se.training.recipe_data import load_data, training_batches
from keras_se.training.run import Run

SETTINGS = (
    "model=SEResNet18", "data=masks", "head=unet", "image_size=32", "crop_area=[0.5,1]", "batch=4",
    "epochs=2", "checkpoint_steps=1", "learning_rate=0.05", "learning_rate_batch=null", "shift=0",
    'variant={"blocks":[1,1,1,1],"widths":[8,8,16,16]}', "cutout=0", "held_out=0", "crop=null",
    "warmup_epochs=0",
)  # fmt: skip
# float32 sums of logarithms.
ROUNDING = 1e-5


def recipe(folder, *settings):
    return get_recipe("fashion_mnist").changed([*SETTINGS, f"data_dir={folder}", *settings])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return mask_folders.write(tmp_path_factory.mktemp("data") / "scenes")


@pytest.fixture(scope="module")
def place(folder, tmp_path_factory):
    """The folder of a run that nobody stops."""
    place = tmp_path_factory.mktemp("runs") / "whole"
    Run(recipe(folder), place).train()
    return place


@pytest.mark.training
def test_a_run_goes_on_bit_for_bit(folder, tmp_path):
    chosen = recipe(folder, "attention=scse", "flip=true", "ema=0.9")
    whole, resumed = training_runs.whole_and_resumed(chosen, tmp_path, at=(1, 1))
    assert whole == resumed
    assert whole["metrics"][1]["val_mean_iou"] != whole["metrics"][0]["val_mean_iou"]


def test_what_a_run_reports(place):
    test = json.loads((place / "results.json").read_text())["test"]
    assert list(test["iou"]) == list(mask_folders.NAMES)
    known = [iou for iou in test["iou"].values() if iou is not None]
    assert test["mean_iou"] == pytest.approx(np.mean(known))
    assert 0 < test["pixel_accuracy"] <= 1
    card = (place / "README.md").read_text()
    assert f"mean IoU {test['mean_iou']:.2%}" in card
    # The best network by mean IoU is the one of the epoch that has it.
    rows = training_runs.final_values(place)["metrics"]
    scores = [float(row["val_mean_iou"]) for row in rows]
    same = (place / "best.keras").read_bytes() == (place / "last.keras").read_bytes()
    best, last = (keras.saving.load_model(place / f"{name}.keras") for name in ("best", "last"))
    same = all(map(np.array_equal, best.get_weights(), last.get_weights()))
    assert same == (scores[1] > scores[0])
    known = keras_se.describe(last)
    assert known.labels == mask_folders.NAMES
    assert (known.answers, known.scores, known.size) == ("logits", "softmax", 32)


def test_results_are_printed_in_rows():
    """As `train` ends; a class that is in no mask and no answer has no figure."""
    results = {"parameters": 1000, "test": {"mean_iou": 0.5, "iou": {"sky": 0.25, "sea": None}}}
    assert flat(results) == [
        ("parameters", "1,000"), ("test mean_iou", "0.5000"), ("test iou sky", "0.2500"),
        ("test iou sea", ""),
    ]  # fmt: skip


def test_evaluate(run, place):
    code, out, _ = run("evaluate", place, "--json")
    assert code == 0
    report = json.loads(out)
    test = json.loads((place / "results.json").read_text())["test"]
    assert report["iou"] == pytest.approx(test["iou"], abs=1e-3)
    assert report["mean_iou"] == pytest.approx(test["mean_iou"], abs=1e-3)
    _, shown, _ = run("evaluate", place)
    assert f"{report['mean_iou']:.4f}" in shown
    assert "ground" in shown
    assert_mistake(run("evaluate", place, "--tta=flip"), "`tta` must be None for a run with masks")
    assert_mistake(run("evaluate", place, "--data=."), "`what` must answer (batch, classes)")


def test_excitations_of_a_run_have_one_class(run, place, tmp_path):
    path = tmp_path / "gates.npz"
    code, _, error = run("excitations", place, "--samples-per-class", "all", "--save", path)
    assert code == 0, error
    found = keras_se.Excitations.load(path)
    assert (list(found.classes), found.counts.tolist()) == (["pictures"], [4])


def test_predict_writes_masks(run, place, folder, tmp_path):
    picture = folder / "test" / "pictures" / "scene3.jpg"
    out = tmp_path / "masks"
    code, text, _ = run("predict", picture, "--weights", place, "--out", out, "--json")
    assert code == 0
    (row,) = json.loads(text)
    assert sum(row["classes"].values()) == pytest.approx(1)
    assert set(row["classes"]) <= set(mask_folders.NAMES)
    with Image.open(picture) as image, Image.open(out / "scene3.png") as mask:
        assert mask.mode == "P"
        assert mask.size == image.size
        numbers = np.asarray(mask)
        pixels = np.asarray(image)
    # The network's own answer to the picture in its size.
    network = keras_se.get_model(place)
    small = np.asarray(Image.fromarray(pixels).resize((32, 32), Image.Resampling.BILINEAR))
    answer = network.predict_on_batch(small[None].astype("float32"))[0].argmax(-1)
    expected = Image.fromarray(answer.astype("uint8")).resize(mask.size, Image.Resampling.NEAREST)
    np.testing.assert_array_equal(numbers, np.asarray(expected))
    drawn = np.asarray(Image.open(out / "scene3_overlay.png"))
    np.testing.assert_array_equal(drawn, np.asarray(overlay(pixels, numbers)))
    again = run("predict", picture, "--weights", place, "--out", out)
    assert_mistake(again, "must not have the files yet")


def test_predict_says_where_masks_go(run, place, folder, tmp_path):
    picture = folder / "test" / "pictures" / "scene3.jpg"
    assert_mistake(run("predict", picture, "--weights", place), "`--out` must name a folder")
    twice = run("predict", picture, picture, "--weights", place, "--out", tmp_path)
    assert_mistake(twice, "names of their own")
    heat = ("--out", tmp_path / "out", "--heatmap", tmp_path / "heat.png")
    assert_mistake(run("predict", picture, "--weights", place, *heat), "`--heatmap` needs")
    grey = tmp_path / "grey.png"
    Image.new("L", (40, 40)).save(grey)
    strict = run("predict", grey, "--weights", place, "--out", tmp_path / "out", "--strict")
    assert_mistake(strict, "grey.png: expected an RGB picture")
    classifier = ("--weights", "se_resnet20.fashion_mnist", "--out", tmp_path / "out")
    assert_mistake(run("predict", picture, *classifier), "`out` must be a .csv or .parquet file")
    assert list(tmp_path.iterdir()) == [grey]
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(picture.read_bytes()[:900])
    several = ("predict", picture, damaged, "--weights", place, "--out", tmp_path / "out")
    assert_mistake(run(*several), "damaged.jpg: expected an undamaged picture")
    assert not (tmp_path / "out").exists()


def head(activation, classes=3, axis=None):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(classes, 1, activation=activation)(inputs)
    return keras.Model(inputs, x if axis is None else keras.layers.Softmax(axis)(x))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (head(None), "outputs of unknown meaning"),
        (head(None, 1), "outputs of unknown meaning"),
        (head(None, axis=1), "outputs of unknown meaning"),
        (head("sigmoid"), "a sigmoid over 3 classes"),
        (head("softmax", 257), "257"),
    ],
)
def test_networks_whose_masks_are_not_known(model, expected, folder, run, tmp_path):
    """Logits, features, a class axis that is not the last, classes that overlap."""
    picture = folder / "test" / "pictures" / "scene3.jpg"
    with pytest.raises(ValueError, match=expected):
        predict_mask(model, picture)
    model.save(tmp_path / "m.keras")
    out = ("--out", tmp_path / "out")
    assert_mistake(run("predict", picture, "--weights", tmp_path / "m.keras", *out), expected)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("classes", [1, 3])
def test_logits_with_an_activation_behind_them(classes, folder):
    """As the error says; one class is where it is more likely than not."""
    picture = folder / "test" / "pictures" / "scene3.jpg"
    model = head(None, classes)
    kernel = np.zeros((1, 1, 3, classes), "float32")
    model.set_weights([kernel, np.float32([0.3] if classes == 1 else [-0.1, 0.2, 0.1])])
    last = keras.layers.Activation("sigmoid") if classes == 1 else keras.layers.Softmax()
    _, mask = predict_mask(keras.Sequential([model, last]), picture)
    assert np.unique(mask).tolist() == [1]


@pytest.mark.parametrize(("bias", "share"), [(-9, 0.0), (9, 1.0)])
@pytest.mark.parametrize("labels", [["tumour"], None])
def test_a_single_class_is_not_the_background(bias, share, labels, folder, run, tmp_path):
    """Its number in the mask is 1, and only its share is told."""
    inputs = keras.Input((16, 16, 3))
    last = keras_se.layers.Dense(
        1, activation="sigmoid", labels=labels, kernel_initializer="zeros",
        bias_initializer=keras.initializers.Constant(bias),
    )  # fmt: skip
    keras.Model(inputs, last(inputs)).save(tmp_path / "m.keras")
    picture = folder / "test" / "pictures" / "scene3.jpg"
    command = ("predict", picture, "--weights", tmp_path / "m.keras", "--out")
    code, out, err = run(*command, tmp_path / "json", "--json")
    assert code == 0, err
    name = labels[0] if labels else "1"
    assert json.loads(out)[0]["classes"] == {name: share}
    assert np.unique(Image.open(tmp_path / "json" / "scene3.png")).tolist() == [share]
    _, out, _ = run(*command, tmp_path / "text")
    assert out.splitlines()[1:] == [f"  {share:6.1%}  {name}"]


def test_the_served_mask_is_that_of_predict(run, place, tmp_path):
    """The whole picture counts, whatever its aspect ratio."""
    import tensorflow as tf

    picture, _ = mask_folders.scene(5, 48, 81)
    path = tmp_path / "wide.png"
    Image.fromarray(picture).save(path)
    code, _, _ = run("export", place, tmp_path / "served")
    assert code == 0
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    answer = served(image_bytes=tf.constant([path.read_bytes(), b"no picture"]))
    assert answer["error"].numpy()[0] == b""
    assert answer["error"].numpy()[1] != b""
    scores = answer["outputs"].numpy()
    assert scores.shape == (2, 32, 32, 3)
    np.testing.assert_allclose(scores[0].sum(-1), 1, atol=ROUNDING)
    mask = Image.fromarray(scores[0].argmax(-1).astype("uint8"))
    mask = mask.resize((81, 48), Image.Resampling.NEAREST)
    _, expected = predict_mask(keras_se.get_model(place), path)
    np.testing.assert_array_equal(np.asarray(mask), expected)


def test_batches_are_the_same_wherever_an_epoch_is_entered(folder):
    chosen = recipe(folder, "flip=true", "batch=3")
    train = load_data(chosen, pytest.fail)["train"]
    assert len(train) == 10
    batches = training_batches(train, chosen, 1)
    assert len(batches) == 3
    later = training_batches(train, chosen, 1, 2)
    for one, other in zip(batches[2], later[0], strict=True):
        np.testing.assert_array_equal(one, other)
    pictures, masks = batches[0]
    assert (pictures.shape, pictures.dtype) == ((3, 32, 32, 3), np.float32)
    assert (masks.shape, masks.dtype) == ((3, 32, 32), np.uint8)
    halves = [training_batches(train, chosen.changed(["batch=2"]), 1, 0, (n, 2)) for n in (0, 1)]
    whole = training_batches(train, chosen.changed(["batch=2"]), 1)
    np.testing.assert_array_equal(np.concatenate([half[0][1] for half in halves]), whole[0][1])
    assert not np.array_equal(training_batches(train, chosen, 2)[0][1], masks)


def test_picture_and_mask_move_together(folder):
    """Red and green in the picture are where the mask has 1 and 2, in every crop and mirror."""
    chosen = recipe(folder, "image_size=64", "batch=10", "flip=true", "crop_area=[0.3,1]")
    train = load_data(chosen, pytest.fail)["train"]
    for epoch in range(2):
        pictures, masks = training_batches(train, chosen, epoch)[0]
        for channel in (0, 1):
            shown = pictures[..., channel] > 130
            counts = masks != 255
            right = (shown == (masks == channel + 1))[counts].mean()
            # JPEG and the interpolation blur the borders; masks that are a pixel off have 0.96.
            assert right > 0.98


def test_random_boxes():
    for seed in range(20):
        numbers = np.random.default_rng(seed).random(22)
        left, top, right, bottom = random_box((40, 60), numbers, (0.25, 0.5))
        assert 0 <= left < right <= 60
        assert 0 <= top < bottom <= 40
        # Rounded to whole pixels.
        assert 0.24 <= (right - left) * (bottom - top) / 2400 <= 0.52
    assert random_box((1, 100), np.zeros(22), (1, 1)) == (0, 0, 100, 1)


def test_loss_and_metric_leave_out_255():
    random = np.random.default_rng(0)
    logits = random.normal(size=(2, 3, 4, 5)).astype("float32")
    masks = random.integers(0, 5, (2, 3, 4)).astype("uint8")
    masks[0, 0], masks[1] = 255, 255
    powers = np.exp(logits.astype("float64"))
    shares = powers / powers.sum(-1, keepdims=True)
    counts = masks[0] != 255
    chosen = np.take_along_axis(shares[0][counts], masks[0][counts][:, None].astype(int), 1)
    expected = -np.log(chosen).mean()
    # The second picture has no pixel that counts.
    assert float(PixelCrossentropy()(masks, logits)) == pytest.approx(expected / 2, rel=ROUNDING)
    metric = pixel_accuracy()
    metric.update_state(masks[:1], logits[:1])
    right = (logits[0].argmax(-1) == masks[0])[counts].mean()
    assert float(metric.result()) == pytest.approx(right)


def test_overlaps():
    found = overlaps(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]), "abc")
    assert found["iou"] == {"a": 0.75, "b": 0.8, "c": None}
    assert found["mean_iou"] == pytest.approx(0.775)
    assert found["pixel_accuracy"] == 7 / 8


def test_classes_without_names(tmp_path):
    folder = mask_folders.write(tmp_path / "plain", parts=(("", 10),), named=False)
    parts = load_data(recipe(folder), pytest.fail)
    assert list(parts["train"].names) == ["0", "1", "2"]
    # A fifth is held out for the test.
    assert {part: len(data) for part, data in parts.items()} == {"train": 8, "test": 2}


@pytest.mark.parametrize("kind", ["palette", "grey", "1 bit"])
def test_masks_of_every_kind(kind, tmp_path):
    numbers = np.random.default_rng(0).integers(0, 2, (5, 7)).astype("uint8")
    image = Image.fromarray(numbers)
    if kind == "palette":
        image = Image.fromarray(numbers, mode="P")
        image.putpalette([9] * 6)
    image = Image.fromarray(numbers.astype(bool)) if kind == "1 bit" else image
    image.save(tmp_path / "mask.png", **({"bits": 1} if kind == "palette" else {}))
    assert mask_size(tmp_path / "mask.png") == (5, 7)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png", 2), numbers)


def test_colours_are_those_of_voc():
    assert colour_map()[[0, 1, 2, 3, 255]].tolist() == [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [224, 224, 192],
    ]  # fmt: skip


def _other_size(folder):
    Image.new("L", (9, 9)).save(folder / "train" / "masks" / "scene1.png")


def _no_mask(folder):
    os.remove(folder / "train" / "masks" / "scene1.png")


def _no_picture(folder):
    os.remove(folder / "val" / "pictures" / "scene1.jpg")


def _colour_mask(folder):
    Image.new("RGB", (62, 41)).save(folder / "train" / "masks" / "scene1.png")


def _no_png(folder):
    (folder / "train" / "masks" / "scene1.png").write_bytes(b"text")


def _no_folder(folder):
    (folder / "test" / "masks").rename(folder / "test" / "labels")


def _two_files(folder):
    Image.new("L", (9, 9)).save(folder / "train" / "pictures" / "scene1.png")


def _white_for_one(folder):
    for path in (folder / "train" / "masks").iterdir():
        mask = read_mask(path)
        Image.fromarray(np.where(mask == 0, 0, 255).astype("uint8")).save(path)


def _too_high(folder):
    Image.fromarray(np.full((41, 62), 7, "uint8")).save(folder / "train" / "masks" / "scene1.png")


def _bad_names(folder):
    (folder / "classes.txt").write_text("one\n")


XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


@pytest.mark.parametrize("kind", ["exif", "xmp"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
def test_orientation(kind, suffix, tmp_path):
    """Pictures and masks are compared as they are decoded: turned by EXIF, not by XMP."""
    folder = mask_folders.write(tmp_path / "data")
    old = folder / "train" / "pictures" / "scene1.jpg"
    with Image.open(old) as image:
        exif = Image.Exif()
        exif[0x0112] = 6
        own = {"exif": exif} if kind == "exif" else {"xmp": XMP.encode()}
        if suffix == ".png" and kind == "xmp":
            from PIL.PngImagePlugin import PngInfo

            own = {"pnginfo": PngInfo()}
            own["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP)
        if suffix == ".tiff" and kind == "xmp":
            own = {"tiffinfo": {700: XMP.encode()}}
        image.load()
        image.save(old.with_suffix(suffix), **own)
    if suffix != ".jpg":
        old.unlink()
    if kind == "exif":
        with pytest.raises(ValueError, match=r"size of its picture, 41 x 62. Received: 62 x 41"):
            load_data(recipe(folder), pytest.fail)
        mask = folder / "train" / "masks" / "scene1.png"
        with Image.open(mask) as image:
            turned = image.transpose(Image.Transpose.ROTATE_270)
        turned.save(mask)
    train = load_data(recipe(folder), pytest.fail)["train"]
    for n in range(len(train)):
        train.example(n)


@pytest.mark.parametrize("part", ["header", "pixels", "link"])
def test_bad_pictures_are_skipped_with_their_masks(part, tmp_path):
    folder = mask_folders.write(tmp_path / "data")
    bad = folder / "train" / "pictures" / "scene1.jpg"
    data = bad.read_bytes()
    bad.unlink()
    if part == "link":
        bad.symlink_to("nowhere")
    else:
        bad.write_bytes(data[: 15 if part == "header" else len(data) // 2])
    told = []
    parts = load_data(recipe(folder, "bad_pictures=skip"), told.append)
    assert told == [f"skipped, not a picture: {bad}"]
    assert (len(parts["train"]), len(parts["validation"])) == (9, 4)
    if part != "pixels":
        with pytest.raises(ValueError, match=r"scene1\.jpg: expected a"):
            load_data(recipe(folder), pytest.fail)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_other_size, "scene1.png: expected the size of its picture, 62 x 41. Received: 9 x 9"),
        (_no_mask, "scene1.jpg: expected a mask. Received: no masks/scene1.png"),
        (_no_picture, "scene1.png: expected a picture. Received: no pictures/scene1"),
        (_colour_mask, r"expected a PNG with a palette, or with one channel.* colour type 2"),
        (_no_png, r"expected a PNG with a palette, or with one channel.* no PNG"),
        (_no_folder, r"expected the folders pictures and masks.* Received: no masks"),
        (_two_files, "expected one file per name. Received: scene1.jpg, scene1.png"),
        (_white_for_one, r"255 is no class, but marks .* Received: class numbers \[0\]"),
        (_too_high, r"scene1.png: expected class numbers from 0 to 2, or 255"),
        (_bad_names, "classes.txt: expected 2 to 255 different names, one a line. Received: 1"),
    ],
)
def test_bad_folders(spoil, expected, tmp_path):
    folder = mask_folders.write(tmp_path / "data")
    spoil(folder)
    with pytest.raises(ValueError, match=expected) as error:
        Run(recipe(folder), tmp_path / "run").train()
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_class_without_pixels_is_told(tmp_path):
    folder = mask_folders.write(tmp_path / "data")
    (folder / "classes.txt").write_text("ground\nred\ngreen\nblue\n")
    told = []
    load_data(recipe(folder), told.append)
    assert told == ["no pixels in the training masks: blue"]


def test_many_classes_without_pixels_are_one_line(tmp_path):
    folder = mask_folders.write(tmp_path / "data", [("", 10)], named=False)
    for path in (folder / "masks").iterdir():
        mask = np.asarray(Image.open(path)).copy()
        mask[mask == 2] = 200
        Image.fromarray(mask).save(path)
    told = []
    load_data(recipe(folder), told.append)
    first = ", ".join(map(str, range(2, 22)))
    assert told == [f"no pixels in the training masks: {first} and 178 more"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["head=null"], "`head` must be 'unet' or 'fpn' with data='masks'"),
        (["data=folder"], r"`head` must be .* null with other data"),
        (["head=fpn", "attention=se"], "`attention` is only supported with head='unet'"),
        (["loss=sigmoid"], "`loss` must be 'softmax' with data='masks'"),
        (["mixup=0.2"], "`mixup` must be 0 with data='masks'"),
        (["sampling=balanced"], "`sampling` must be 'shuffled' with data='masks'"),
        (["teacher=se_resnet20.fashion_mnist", "distillation=0.5"], "`teacher` must be null with"),
        (["head=linknet"], "`head` must be one of"),
    ],
)
def test_settings_that_do_not_fit(settings, expected, tmp_path):
    with pytest.raises(ValueError, match=expected) as error:
        recipe(tmp_path, *settings)
    assert "\n" not in str(error.value)
