"""Recipes: settings, and users' mistakes in one line each."""

import json

import pytest

from keras_se import SEConfig
from keras_se.recipes import get_recipe, recipe_names
from keras_se.training.recipe import Recipe, difference, from_dict

RECIPE = Recipe(model="SEResNet20", data="fashion_mnist")


def test_settings():
    recipe = RECIPE.changed(
        ["epochs=5", "model=SEMobileNet", "variant.alpha=0.25", "se.ratio=8", "se.gate=tanh",
         "drops=[2, 3.5]", "schedule=step", "clip_norm=null", "flip=true", "data_dir=/a b"]
    )  # fmt: skip
    assert recipe.epochs == 5
    assert recipe.model == "SEMobileNet"
    assert recipe.variant == {"alpha": 0.25}
    assert recipe.se_config() == SEConfig(ratio=8, gate="tanh")
    assert recipe.drops == (2, 3.5)
    assert recipe.clip_norm is None
    assert recipe.flip is True
    assert recipe.data_dir == "/a b"
    assert RECIPE.changed(["se=null"]).se_config() is None
    assert RECIPE.changed(["se=null", "se.ratio=4"]).se_config() == SEConfig(4)
    assert RECIPE.changed([]) == RECIPE


def test_recipe_through_json():
    recipe = RECIPE.changed(["drops=[1,2]", "schedule=step", "se.stages=[2,3]", "ema=0.99"])
    again = from_dict(json.loads(json.dumps(recipe.as_dict())))
    assert difference(recipe, again) == ""
    assert again.se_config() == SEConfig(stages=(2, 3))
    assert "epochs (100, 7)" in difference(recipe, again.changed(["epochs=7"]))


def test_learning_rate_scales_with_the_batch():
    assert RECIPE.changed(["batch=64", "learning_rate=0.2"]).highest_rate() == pytest.approx(0.05)
    settings = ["batch=64", "learning_rate=0.2", "learning_rate_batch=null"]
    assert RECIPE.changed(settings).highest_rate() == pytest.approx(0.2)


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_of_the_package(name):
    recipe = get_recipe(name)
    assert difference(recipe, from_dict(recipe.as_dict())) == ""


MISTAKES = [
    ("epohs=5", "set='epohs'", "Did you mean 'epochs'?"),
    ("epochs", "set='epochs'", "<name>=<value>"),
    ("epochs.x=5", "set='epochs'", "<name>=<value>"),
    ("=5", "set=''", "<name>=<value>"),
    ("epochs=0", "epochs=0", "at least 1"),
    ("epochs=2.5", "epochs=2.5", "integer"),
    ("epochs=true", "epochs=True", "integer"),
    ("epochs=many", "epochs='many'", "integer"),
    ("model=SEResNet21", "model='SEResNet21'", "Did you mean 'SEResNet"),
    ("learning_rate=0", "learning_rate=0", "above 0"),
    ("learning_rate=NaN", "learning_rate=nan", "above 0"),
    ("learning_rate=Infinity", "learning_rate=inf", "above 0"),
    ("momentum=1", "momentum=1", "less than 1"),
    ("label_smoothing=-0.1", "label_smoothing=-0.1", "from 0"),
    ("cutout_probability=1.5", "cutout_probability=1.5", "from 0 to 1"),
    ("random_erasing=2", "random_erasing=2", "from 0 to 1"),
    ("ema=1", "ema=1", "between 0 and 1"),
    ("repeats=0", "repeats=0", "at least 1"),
    ("repeats=3", "batch=256", "a multiple of `repeats`, 3"),
    ("rand_augment=-1", "rand_augment=-1", "at least 0"),
    ("rand_augment_magnitude=11", "rand_augment_magnitude=11", "from 0 to 10"),
    ("rand_augment_deviation=-1", "rand_augment_deviation=-1", "at least 0"),
    ("rand_augment_probability=2", "rand_augment_probability=2", "from 0 to 1"),
    ("target_threshold=1", "target_threshold=1", "less than 1"),
    ("target_threshold=0.2", "target_threshold=0.2", "loss='sigmoid'"),
    ("flip=yes", "flip='yes'", "true or false"),
    ("optimizer=adam", "optimizer='adam'", "'adamw'"),
    ("schedule=[]", "schedule='[]'", "'cosine'"),
    ("separator=null", "separator=None", "a name"),
    ("drops=[50]", "drops=(50.0,)", "not used with schedule='cosine'"),
    ("drop_factor=0.5", "drop_factor=0.5", "not used with schedule='cosine'"),
    ("rand_augment_magnitude=5", "rand_augment_magnitude=5.0", "not used with rand_augment=0"),
    ("rand_augment_deviation=1", "rand_augment_deviation=1.0", "not used with rand_augment=0"),
    ("rand_augment_probability=0.5", "probability=0.5", "not used with rand_augment=0"),
    ("cutout_probability=0.5", "cutout_probability=0.5", "not used with cutout=0"),
    ("crop_area=[0.5,1]", "crop_area=(0.5, 1)", "not used with data='fashion_mnist'"),
    ("crop=0.9", "crop=0.9", "not used with data='fashion_mnist'"),
    ("bad_pictures=skip", "bad_pictures='skip'", "not used with data='fashion_mnist'"),
    ("schedule=step", "drops=()", "not be empty"),
    ("drops=[1,-2]", "drops=(1, -2)", "epochs above 0"),
    ("warmup_epochs=100", "warmup_epochs=100", "less than `epochs`"),
    ("se.ratoi=4", "se='ratoi'", "Did you mean 'ratio'?"),
    ("se.ratio=0", "ratio=0", "at least 1"),
    ("se=yes", "se='yes'", "null or settings"),
    ("variant=3", "variant=3", "fields"),
    ("precision=float16", "precision='float16'", "'mixed_float16'"),
]


@pytest.mark.parametrize(("setting", "received", "expected"), MISTAKES)
def test_mistakes(setting, received, expected):
    with pytest.raises(ValueError, match="Received") as caught:
        RECIPE.changed([setting])
    message = str(caught.value)
    assert "\n" not in message
    assert received in message
    assert expected in message


PAIRS = [
    (
        ["loss=sigmoid", "target_threshold=0.2", "label_smoothing=0.1"],
        "`label_smoothing` must be 0 with `target_threshold`, which makes targets 0 or 1. "
        "Received: label_smoothing=0.1",
    ),
    (
        ["optimizer=adamw", "momentum=0.8"],
        "`momentum` is not used with optimizer='adamw'. Received: momentum=0.8",
    ),
    (
        ["optimizer=lamb", "nesterov=true"],
        "`nesterov` is not used with optimizer='lamb'. Received: nesterov=True",
    ),
]


@pytest.mark.parametrize(("settings", "expected"), PAIRS)
def test_settings_that_do_not_fit(settings, expected):
    with pytest.raises(ValueError, match="Received") as caught:
        RECIPE.changed(settings)
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("cifar10", ["schedule=cosine"]),
        ("cifar10", ["schedule=cosine", "drops=[]"]),
        ("fashion_mnist", ["cutout=0", "optimizer=adamw", "nesterov=false"]),
        ("finetune", ["data=fashion_mnist"]),
    ],
)
def test_a_setting_need_not_undo_the_recipes_others(name, settings):
    """Nor do stored recipes, which may have settings without effect."""
    recipe = get_recipe(name).changed(settings)
    assert difference(recipe, from_dict(recipe.as_dict())) == ""


@pytest.mark.parametrize("text", ["2024", "1e5", "true", "[a]", "[1]", '{"a": 1}'])
def test_text_that_is_json(text):
    assert RECIPE.changed([f"data_dir= {text}"]).data_dir == text
    assert RECIPE.changed([f"data_dir={json.dumps(text)}"]).data_dir == text
    assert RECIPE.changed([f"data_dir={text}", "data_dir=null"]).data_dir is None


def test_unknown_names():
    with pytest.raises(ValueError, match="Did you mean 'fashion_mnist'"):
        get_recipe("fashion-mnist")
    with pytest.raises(ValueError, match="recipe='epoch'"):
        from_dict({"epoch": 3})
