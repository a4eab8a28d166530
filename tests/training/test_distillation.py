"""A network that learns from a teacher's probabilities."""

import json
import re

import fashion_mnist_files
import keras
import numpy as np
import pytest
import training_runs
from picture_folders import recipe, write

import keras_se
from keras_se.inspection import tell
from keras_se.training.checkpoints import values_of
from keras_se.training.distillation import SoftLoss, Teacher, load_teacher
from keras_se.training.networks import network
from keras_se.training.recipe import Recipe
from keras_se.training.recipe_data import load_data, training_batches
from keras_se.training.run import Run

# float32, eager and compiled.
CLOSE = 1e-4
SETTINGS = ("epochs=1", "warmup_epochs=0", "ema=null", 'variant={"blocks":[1,1,1]}')


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return fashion_mnist_files.write(tmp_path_factory.mktemp("data") / "fashion")


def teacher_of(chosen, path, order=slice(None), **about):
    """Write a network for a recipe, with random weights and classes in an order."""
    training = load_data(chosen, pytest.fail)["train"]
    keras.utils.set_random_seed(5)
    made = network(chosen, training)
    for layer in made.layers:
        # Moving statistics that batches do not have.
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(0.3 * np.ones(layer.moving_mean.shape))
    tell(made, labels=list(np.array(training.names)[order]), scores=chosen.loss)
    if about:
        tell(made, **{"labels": training.names, "scores": chosen.loss, **about})
    made.save(path)
    return made


def softmax(x):
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def test_soft_losses():
    random = np.random.default_rng(0)
    teacher, student = random.normal(0, 3, (2, 5, 4)).astype("float32")
    for temperature in (1.0, 4.0):
        wanted, own = softmax(teacher / temperature), softmax(student / temperature)
        found = SoftLoss("softmax", temperature, reduction=None)(teacher, student)
        expected = -(wanted * np.log(own)).sum(1) * temperature**2
        np.testing.assert_allclose(found, expected, rtol=CLOSE)
        wanted, own = (1 / (1 + np.exp(-x / temperature)) for x in (teacher, student))
        found = SoftLoss("sigmoid", temperature, reduction=None)(teacher, student)
        losses = -wanted * np.log(own) - (1 - wanted) * np.log(1 - own)
        np.testing.assert_allclose(found, losses.sum(1) * temperature**2, rtol=CLOSE)


def test_loss_of_a_step(data, tmp_path):
    """The weighted mean of both, the teacher on the same mixed pictures and in inference mode."""
    chosen = training_runs.recipe(
        data, *SETTINGS, f"teacher={tmp_path / 'teacher.keras'}", "distillation=0.7",
        "temperature=3",
    )  # fmt: skip
    # Its classes in another order are brought into the student's.
    order = np.random.default_rng(1).permutation(10)
    made = teacher_of(chosen, tmp_path / "teacher.keras", order)
    seen = []

    def step(run, _, done):
        if done == 1:
            seen.append(float(run.model.get_metrics_result()["loss"]))

    run = Run(chosen, tmp_path / "run", progress=step)
    before = values_of(made.weights)
    run.train()
    for old, new in zip(before, run.teacher.network.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    assert not run.teacher.network.trainable_variables
    # The student's own weights only.
    alone = network(chosen, load_data(chosen, pytest.fail)["train"])
    assert [v.shape for v in run.model.weights] == [v.shape for v in alone.weights]
    assert len(run.model.trainable_variables) == len(alone.trainable_variables)

    training = load_data(chosen, pytest.fail)["train"]
    training = training[: len(training) - chosen.held_out]
    pictures, targets = training_batches(training, chosen, 0)[0]
    keras.utils.set_random_seed(chosen.seed)
    student = network(chosen, training)
    logits = np.asarray(student(pictures, training=True))
    answers = made.predict(pictures, verbose=0)[:, np.argsort(order)]
    hard = -(targets * np.log(softmax(logits))).sum(1).mean()
    soft = -(softmax(answers / 3) * np.log(softmax(logits / 3))).sum(1).mean() * 9
    assert seen[0] == pytest.approx(0.3 * hard + 0.7 * soft, rel=CLOSE)


@pytest.mark.training
def test_teacher_of_no_weight(data, tmp_path):
    """The student learns as without one; the run still records it."""
    path = tmp_path / "teacher.keras"
    chosen = training_runs.recipe(data, *SETTINGS, "mixup=0", "cutmix=0", "repeats=1")
    teacher_of(chosen, path)
    none = chosen.changed([f"teacher={path}", "distillation=0"])
    Run(chosen, tmp_path / "alone").train()
    Run(none, tmp_path / "none").train()
    assert training_runs.final_values(tmp_path / "alone") == training_runs.final_values(
        tmp_path / "none"
    )
    assert json.loads((tmp_path / "none" / "teacher.json").read_text())["teacher"] == str(path)


@pytest.mark.parametrize("answers", ["probabilities", "independent probabilities"])
def test_teachers_that_answer_probabilities(answers):
    inputs = keras.Input((3,))
    activation = {"probabilities": "softmax"}.get(answers, "sigmoid")
    made = keras.Model(inputs, keras.layers.Activation(activation)(inputs))
    logits = np.array([[1.0, -2.0, 3.0], [0.0, 200.0, -200.0]], "float32")
    found = np.asarray(Teacher(made, answers, [2, 0, 1]).logits(logits))
    kind = {"softmax": softmax, "sigmoid": lambda x: 1 / (1 + np.exp(-x))}[activation]
    with np.errstate(over="ignore"):
        expected = kind(logits.astype("float64"))[:, [2, 0, 1]]
        np.testing.assert_allclose(kind(found.astype("float64")), expected, atol=1e-6)
    assert np.isfinite(found).all()


MISTAKES = {
    "no set": ({}, ("teacher=nonsense",), "a run folder, a .keras file. Received: teacher='nons"),
    "no network": ({}, ("teacher=a.pth",), "`teacher` must be a set, a run folder or a .keras"),
    "shape": ({}, ("image_size=20",), "`teacher` must take pictures of the shape (20, 20, 3)"),
    "scores": ({}, ("loss=sigmoid",), "`teacher` must give independent probabilities with loss"),
    "names": ({"labels": ["a", "b", "z"]}, (), "without 'c'"),
    "values": ({"scores": None}, (), "answer classes, as a run's network"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_teachers_that_do_not_fit(name, tmp_path):
    about, settings, expected = MISTAKES[name]
    path = tmp_path / "teacher.keras"
    chosen = recipe(write(tmp_path / "pictures"), f"teacher={path}", "distillation=0.5")
    teacher_of(chosen, path, **about)
    chosen = chosen.changed(settings)
    with pytest.raises(ValueError, match=re.escape(expected)) as caught:
        Run(chosen, tmp_path / "run").train()
    assert "\n" not in str(caught.value)
    assert "Received" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_other_number_of_classes(tmp_path):
    few = recipe(write(tmp_path / "few", "ab"))
    teacher_of(few, tmp_path / "teacher.keras")
    many = recipe(
        write(tmp_path / "many"), f"teacher={tmp_path / 'teacher.keras'}", "distillation=0.5"
    )
    with pytest.raises(ValueError, match="`teacher` must have the 3 classes of the data"):
        load_teacher(many, load_data(many, pytest.fail)["train"], pytest.fail)


def test_sets_as_teachers(data):
    """One whose classes are the data's; ImageNet's are others."""
    chosen = training_runs.recipe(data, "teacher=se_resnet20.fashion_mnist", "distillation=0.5")
    training = load_data(chosen, pytest.fail)["train"]
    found = load_teacher(chosen, training, pytest.fail)
    assert (found.answers, found.order) == ("logits", list(range(10)))
    pictures = training.pictures[:4].astype("float32")
    np.testing.assert_allclose(
        softmax(np.asarray(found.logits(pictures))).sum(1), 1, rtol=CLOSE
    )  # fmt: skip
    other = chosen.changed(["teacher=se_resnet50.timm_ra2_imagenet"])
    with pytest.raises(ValueError, match="`teacher` must take 1 channels"):
        load_teacher(other, training, pytest.fail)


@pytest.mark.parametrize("file", ["", "last.keras"])
@pytest.mark.parametrize("spelling", ["{}", "{}/../pictures/", "pictures"])
def test_runs_that_may_know_the_validation_pictures(file, spelling, tmp_path, monkeypatch):
    """A run or a file in it, and however its folder of pictures was spelled."""
    monkeypatch.chdir(tmp_path)
    chosen = recipe(write(tmp_path / "pictures"), "held_out=2")
    run = tmp_path / "teacher"
    run.mkdir()
    teacher_of(chosen, run / "last.keras")
    spelled = {**chosen.as_dict(), "data_dir": spelling.format(tmp_path / "pictures")}
    (run / "recipe.json").write_text(json.dumps(spelled))
    settings = (f"teacher={run / file}", "distillation=0.5")
    said = []
    load_teacher(chosen.changed(settings), load_data(chosen, pytest.fail)["train"], said.append)
    assert said == []
    other = chosen.changed([*settings, "held_out=4"])
    load_teacher(other, load_data(chosen, pytest.fail)["train"], said.append)
    assert said == [
        "teacher: trained with held_out=2: it may know pictures that are validated here"
    ]
    # On other pictures it cannot.
    write(tmp_path / "others")
    others = other.changed([f"data_dir={tmp_path / 'others'}"])
    load_teacher(others, load_data(others, pytest.fail)["train"], pytest.fail)


def test_builders_are_no_teachers():
    """Their weights would be random, or those of the builder's default."""
    chosen = Recipe(model="SEResNet20", data="fashion_mnist")
    for name in keras_se.list_models():
        expected = f"a run folder or a .keras file. Received: teacher={name!r}"
        with pytest.raises(ValueError, match=re.escape(expected)):
            chosen.changed([f"teacher={name}", "distillation=0.5"])
    chosen.changed(["teacher=SEResNet20.fashion_mnist", "distillation=0.5"])


CONFLICTS = {
    "`teacher` and `distillation`, its weight, must be both given": ("distillation=0.5",),
    "teacher='x', distillation=None": ("teacher=x",),
    "`temperature` is only supported with `teacher`": ("temperature=4",),
    "`class_weights` must be null with `teacher`": (
        "teacher=x", "distillation=1", "class_weights=balanced"
    ),
    "`distillation` must be null or a number from 0 to 1": ("teacher=x", "distillation=2"),
    "`temperature` must be a number above 0": ("teacher=x", "distillation=1", "temperature=0"),
}  # fmt: skip


@pytest.mark.parametrize("expected", CONFLICTS)
def test_conflicts(expected):
    with pytest.raises(ValueError, match=re.escape(expected)):
        Recipe(model="SEResNet20", data="fashion_mnist").changed(CONFLICTS[expected])


@pytest.mark.training
@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_resumed_bit_for_bit(precision, data, tmp_path):
    """And not with other weights."""
    path = tmp_path / "teacher.keras"
    chosen = training_runs.recipe(
        data, f"teacher={path}", "distillation=0.5", "temperature=2", f"precision={precision}"
    )
    made = teacher_of(chosen.changed(["teacher=null", "distillation=null", "temperature=1"]), path)
    whole, resumed = training_runs.whole_and_resumed(chosen, tmp_path)
    assert whole == resumed
    made.layers[-1].bias.assign_add(np.full(10, 1e-3))
    made.save(path)
    with pytest.raises(ValueError, match="its run has another teacher: expected weights sha256:"):
        Run(chosen, tmp_path / "run").train(resume=True)
    (tmp_path / "run" / "teacher.json").unlink()
    with pytest.raises(ValueError, match="expected the record of a run's teacher"):
        Run(chosen, tmp_path / "run").train(resume=True)
