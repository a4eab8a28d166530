"""Pictures in files: cropped as GoogLeNet's augmentation says, the same on every run."""

import io

import numpy as np
import pytest
import tensorflow as tf
import training_runs
from PIL import Image

from keras_se.data.decoding import opened
from keras_se.data.encoded import central_crop
from keras_se.pictures import load_image
from keras_se.training.encoded_batches import random_crop
from keras_se.training.recipe import Recipe
from keras_se.training.recipe_data import load_data, training_batches
from keras_se.training.run import Run
from keras_se.weights.entries import get_weights

# Fast and exact inverse transforms of JPEG differ by rounding.
JPEG_TOLERANCE = 6.0


def gradient(height, width, seed=0):
    """A smooth picture in which every place has its own colour."""
    y, x = np.mgrid[:height, :width]
    red, green = 255 * y / max(1, height - 1), 255 * x / max(1, width - 1)
    blue = 127 + 100 * np.sin((y + x) / 20 + seed)
    return np.stack([red, green, blue], -1).round().astype("uint8")


def encoded(picture, kind):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, **({"quality": 98} if kind == "JPEG" else {}))
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Two classes, odd sizes, JPEG and PNG: upright pictures and wide ones."""
    for n in range(15):
        for name, size in (("tall", (61 + n, 40)), ("wide", (40, 75 + n))):
            kind = "PNG" if n % 5 == 0 else "JPEG"
            path = tmp_path / "pictures" / name / f"{n}.{kind.lower()}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(gradient(*size, seed=n), kind))
    return tmp_path / "pictures"


def recipe(folder, *settings):
    return Recipe(
        model="SEResNet20", data="folder", data_dir=str(folder), image_size=32, batch=4, epochs=2,
        flip=True, variant={"blocks": (1, 1, 1)}, checkpoint_steps=2,
    ).changed(settings)  # fmt: skip


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF"])
@pytest.mark.parametrize("size", [(61, 47), (32, 101)])
def test_random_crop(kind, size):
    """The part that the numbers say, against the equations in NumPy and a resize of that part."""
    picture = gradient(*size)
    data = tf.constant(encoded(picture, kind))
    assert opened(data)[1].numpy().tolist() == list(size)
    random = np.random.default_rng(3)
    found = 0
    for _ in range(8):
        numbers = random.random(22).astype("float32")
        got = random_crop(data, tf.constant(numbers), (24, 24, 3), (0.08, 1.0)).numpy()
        window = None
        for area, aspect in numbers[:20].reshape(10, 2):
            surface = size[0] * size[1] * (0.08 + 0.92 * area)
            ratio = (4 / 3) ** (2 * aspect - 1)
            part = np.round(np.sqrt([surface / ratio, surface * ratio])).astype(int)
            if (part <= size).all():
                window = part
                break
        if window is None:
            continue
        found += 1
        top, left = np.floor(numbers[20:] * (np.array(size) - window + 1)).astype(int)
        part = tf.io.decode_image(data, 3, expand_animations=False)
        part = part[top : top + window[0], left : left + window[1]]
        expected = tf.image.resize(part, (24, 24)).numpy()
        np.testing.assert_allclose(got, expected, atol=JPEG_TOLERANCE)
    assert found >= 2


def test_crop_where_no_attempt_fits():
    """A strip: the middle, as high as it is and 4/3 as wide."""
    data = tf.constant(encoded(gradient(10, 200), "PNG"))
    numbers = tf.ones(22)
    got = random_crop(data, numbers, (12, 12, 3), (1.0, 1.0)).numpy()
    part = gradient(10, 200)[:, 94:107]
    np.testing.assert_allclose(got, tf.image.resize(part, (12, 12)).numpy(), atol=0.01)


def test_central_crop_is_near_that_of_published_sets():
    """Pillow's bilinear filter and TensorFlow's antialiased one."""
    picture = gradient(300, 420)
    entry = get_weights("se_resnet50.timm_ra2_imagenet")
    expected = load_image(encoded(picture, "PNG"), entry)[0]
    size, crop = entry.preprocessing.size, entry.preprocessing.crop
    got = central_crop(tf.constant(encoded(picture, "PNG")), (size, size, 3), crop).numpy()
    assert got.shape == expected.shape
    # Another filter and half a pixel of a gradient.
    assert np.abs(got - expected).mean() < 1.0


def test_batches_are_pure_functions(folder):
    settings = (
        "mixup=0.2", "cutmix=1.0", "label_smoothing=0.1", "rand_augment=2", "repeats=2"
    )  # fmt: skip
    train = load_data(recipe(folder, *settings), pytest.fail)["train"]
    assert len(train) == 24
    assert train.shape == (32, 32, 3)
    assert train.names == ["tall", "wide"]
    whole = [list(training_batches(train, recipe(folder, *settings), 1)) for _ in range(2)]
    assert len(whole[0]) == 6
    rest = list(training_batches(train, recipe(folder, *settings), 1, first=4))
    other = list(training_batches(train, recipe(folder, *settings), 2))
    for n in range(6):
        for part in (0, 1):
            one = whole[0][n][part].numpy()
            assert one.dtype == np.float32
            assert one.tobytes() == whole[1][n][part].numpy().tobytes()
            if n >= 4:
                assert one.tobytes() == rest[n - 4][part].numpy().tobytes()
        assert (whole[0][n][0].numpy() != other[n][0].numpy()).mean() > 0.5
        np.testing.assert_allclose(whole[0][n][1].numpy().sum(1), 1, rtol=1e-5)


def test_what_is_done_to_a_picture_does_not_depend_on_its_batch(folder):
    train = load_data(recipe(folder), pytest.fail)["train"]
    small, large = (
        next(iter(training_batches(train, recipe(folder, f"batch={n}"), 1)))[0].numpy()
        for n in (4, 8)
    )
    assert small.tobytes() == large[:4].tobytes()


def test_rand_augment_is_that_of_pictures_in_memory(folder):
    """Of the rounded crop; the labels follow the pictures, each of which is there twice."""
    from keras_se.training.batches import randomly_augmented, views

    train = load_data(recipe(folder), pytest.fail)["train"]
    twice = recipe(folder, "repeats=2")
    chosen = recipe(folder, "repeats=2", "rand_augment=2")
    shown = views(chosen, 1, train.labels)
    changed = 0
    for step, (one, other) in enumerate(
        zip(training_batches(train, twice, 1), training_batches(train, chosen, 1), strict=True)
    ):
        np.testing.assert_array_equal(one[1], other[1])
        np.testing.assert_array_equal(other[1].numpy().argmax(1), train.labels[shown[step] % 24])
        np.testing.assert_array_equal(shown[step][:2] + 24, shown[step][2:])
        for plain, got, view in zip(one[0].numpy(), other[0].numpy(), shown[step], strict=True):
            expected = randomly_augmented(plain.round().astype("uint8"), chosen, 1, view)
            np.testing.assert_array_equal(got, expected)
            changed += (expected != plain.round()).any()
        assert (one[0][:2].numpy() != one[0][2:].numpy()).any((1, 2, 3)).all()
    assert changed > 12


def test_mix_is_that_of_pictures_in_memory(folder):
    from keras_se.training.augmentation import mixed
    from keras_se.training.batches import mix_of

    train = load_data(recipe(folder), pytest.fail)["train"]
    plain = list(training_batches(train, recipe(folder), 1))
    settings = recipe(folder, "mixup=0.4", "cutmix=1.0")
    kinds = set()
    for step, batch in enumerate(training_batches(train, settings, 1)):
        mix = mix_of(settings, 1, step, train.shape)
        kinds.add(mix.own < 1)
        expected = mixed(*(part.numpy() for part in plain[step]), mix)
        for got, values in zip(batch, expected, strict=True):
            np.testing.assert_allclose(got.numpy(), values, rtol=1e-5, atol=1e-4)
    assert kinds == {True, False}


def test_parts(folder, tmp_path):
    parts = load_data(recipe(folder), pytest.fail)
    assert len(parts["test"]) == 6
    assert not {*parts["test"].chosen} & {*parts["train"].chosen}
    for part in ("train", "test"):
        (tmp_path / "parted" / part).mkdir(parents=True)
        for path in folder.iterdir():
            (tmp_path / "parted" / part / path.name).symlink_to(path)
    parts = load_data(recipe(tmp_path / "parted"), pytest.fail)
    assert [len(parts[part]) for part in ("train", "test")] == [30, 30]
    pictures = np.concatenate([batch.numpy() for batch in parts["test"].evaluation(8)])
    assert pictures.shape == (32, 32, 32, 3)
    np.testing.assert_array_equal(pictures[29], pictures[31])


@pytest.mark.training
def test_run_goes_on_bit_for_bit(folder, tmp_path):
    chosen = recipe(
        folder, "mixup=0.2", "held_out=4", "rand_augment=2", "repeats=2", "random_erasing=0.5"
    )
    expected, values = training_runs.whole_and_resumed(chosen, tmp_path)
    assert values == expected


def test_file_that_is_no_picture(folder, tmp_path):
    bad = folder / "wide" / "7.jpeg"
    bad.write_bytes(bad.read_bytes()[:300])
    with pytest.raises(ValueError, match="expected an undamaged picture") as caught:
        Run(recipe(folder), tmp_path / "run").train()
    assert str(bad) in str(caught.value)
    assert "\n" not in str(caught.value)
    lines = []
    parts = load_data(recipe(folder, "bad_pictures=skip"), lines.append)
    assert lines == [f"skipped, not a picture: {bad}"]
    assert len(parts["train"]) + len(parts["test"]) == 29


def test_bad_folders(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "one" / "class").mkdir(parents=True)
    (tmp_path / "none" / "a").mkdir(parents=True)
    (tmp_path / "none" / "b").mkdir()
    for place, settings, expected in (
        (tmp_path / "absent", (), "must be a folder"),
        (tmp_path / "empty", (), "0 folder(s)"),
        (tmp_path / "one", (), "1 folder(s)"),
        (tmp_path / "none", (), "expected a picture"),
        (folder, ("image_size=null",), "image_size=None"),
        (folder, ("data_dir=null",), "data_dir=None"),
        (folder, ("shift=2",), "shift=2"),
    ):
        with pytest.raises(ValueError, match="Received") as caught:
            load_data(recipe(place, *settings), pytest.fail)
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="image_size=32"):
        load_data(recipe(folder, "data=cifar10", "data_dir=null"), pytest.fail)


@pytest.mark.parametrize(
    ("settings", "smallest", "largest"),
    [
        # Sides are whole pixels.
        (("random_erasing=0.25",), (0.015, 0.04), (0.35, 0.41)),
        # A quarter of the square is the least that is inside.
        (("cutout=8", "cutout_probability=0.25"), (16 / 1024, 32 / 1024), (64 / 1024, 64 / 1024)),
    ],
    ids=["erasing", "cutout"],
)
def test_erased_rectangles(folder, settings, smallest, largest):
    """That share of the pictures has a rectangle of the mean colour; the rest are as without it."""
    train = load_data(recipe(folder), pytest.fail)["train"]
    many = train[np.resize(np.arange(len(train)), 480)]
    chosen = recipe(folder, "batch=480", *settings)
    ((before, _),) = training_batches(many, recipe(folder, "batch=480"), 3)
    ((after, _),) = training_batches(many, chosen, 3)
    changed = (before != after).numpy().any(-1)
    shares = changed.mean((1, 2))
    # Four standard errors of 480 draws.
    assert abs((shares > 0).mean() - 0.25) < 4 * (0.25 * 0.75 / 480) ** 0.5
    assert smallest[0] <= shares[shares > 0].min() <= smallest[1]
    assert largest[0] <= shares.max() <= largest[1]
    for rows, columns, own in zip(changed.any(2), changed.any(1), changed, strict=True):
        np.testing.assert_array_equal(own, rows[:, None] & columns)
    assert (after.numpy()[changed] == many.mean).all()
    (pictures,) = many.evaluation(len(many))
    np.testing.assert_allclose(many.mean, pictures.numpy().mean((0, 1, 2), "float64"), rtol=1e-5)
    assert not (training_batches(many, chosen, 4).get_single_element()[0] == after).numpy().all()


def test_erasing_from_a_later_step(folder):
    """With everything else that is random: the same batches as those of the whole epoch."""
    chosen = recipe(
        folder, "random_erasing=0.5", "cutout=8", "rand_augment=1", "mixup=0.2", "cutmix=1.0",
        "repeats=2",
    )  # fmt: skip
    train = load_data(chosen, pytest.fail)["train"]
    whole, later = (list(training_batches(train, chosen, 1, first)) for first in (0, 4))
    assert (len(whole), len(later)) == (6, 2)
    for one, other in zip(whole[4:], later, strict=True):
        for value, again in zip(one, other, strict=True):
            assert value.numpy().tobytes() == again.numpy().tobytes()


def test_parts_make_up_the_batch(folder):
    settings = recipe(folder, "mixup=0.2", "cutmix=1.0", "random_erasing=0.5")
    train = load_data(settings, pytest.fail)["train"]
    whole = list(training_batches(train, settings, 1, first=4))
    parts = [list(training_batches(train, settings, 1, first=4, part=(n, 2))) for n in range(2)]
    assert len(whole) == 2
    for step, values in enumerate(whole):
        for n, value in enumerate(values):
            joined = np.concatenate([part[step][n].numpy() for part in parts])
            assert joined.tobytes() == value.numpy().tobytes()
